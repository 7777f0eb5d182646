import type { Transaction } from "@tanstack/db";
import type { OfflineExecutor, OfflineTransaction } from "@tanstack/offline-transactions";
import { type Call, type Change, type DeviceStorage, exactJson } from "../index.js";
import { type AnyCollection, standsAlone } from "./echoes.js";
import type { onlineDetector } from "./page.js";
import { plainButTimes, rowOfPlain } from "./plain.js";
import { type HeldQueue, partOf, prefixOf } from "./queues.js";

/** What is kept of a transaction beside its mutations. */
export interface Metadata {
  /** The place in its queue: clocks go back, and a millisecond holds many. */
  order: number;
  /** What is pushed, as text: an app's id and changes. */
  push: string;
}

export interface QueueOptions {
  readonly storage: DeviceStorage;
  /** By the names under which their changes wait. */
  readonly collections: Readonly<Record<string, AnyCollection>>;
  readonly detector: ReturnType<typeof onlineDetector>;
  /** Pushes one. Errors: the library's NonRetriableError for what was refused; anything else is tried again. */
  send(transaction: OfflineTransaction): Promise<void>;
  /** What was in storage, of whatever collections, before any of it is sent. */
  onFound(metadata: Metadata, transactionId: string): void;
  onStored(transactionId: string): void;
  onWaiting(error: unknown): void;
}

/** A queue while this page runs it. */
export interface RunningQueue {
  /** Keeps what was written, and pushes it when it is its turn. Resolves when it was pushed. Errors: why it was refused, or could not be kept. */
  add(written: Pick<OfflineTransaction, "id" | "mutations"> & { metadata: Metadata }): Promise<void>;
  pendingCount(): number;
  /** Writes and sends nothing any more. The lock is still held. */
  end(): void;
  release(): void;
}

/** What is pushed of one transaction. */
export interface Push {
  readonly appId: string;
  readonly changes: (Change | Call)[];
}

export const pushOf = ({ push: text }: Metadata): Push => exactJson.parse(text) as Push;

/** The name of the one function that pushes. */
export const push = "push";
const keyOf = (transactionId: string) => `tx:${transactionId}`;
const idOf = (key: string) => key.slice(keyOf("").length);

/** What the library has and does not declare. */
interface Internals {
  persistTransaction(transaction: OfflineTransaction): Promise<void>;
  registerRestorationTransaction(id: string, shown: Transaction): void;
  readonly outbox: { update(id: string, updated: OfflineTransaction): Promise<void> };
}

/** Runs a queue, from its lock to its end. Errors: those of a storage that cannot be read; the lock is then given back. */
export async function runQueue(
  offline: typeof import("@tanstack/offline-transactions"),
  held: HeldQueue,
  options: QueueOptions,
): Promise<RunningQueue> {
  const { storage, end: endWriting } = partOf(options.storage, prefixOf(held.id), {
    onStored: (key) => options.onStored(idOf(key)),
    onError: options.onWaiting,
  });
  /** Why it could not be read. The library says so to the console, and goes on without what it did not see. */
  let unread: unknown;
  let notGiven = 0;
  let given = 0;
  const reading = async <T>(read: () => Promise<T>): Promise<T> => {
    try {
      return await read();
    } catch (error) {
      unread ??= error;
      throw error;
    }
  };
  /** Out: null for what is not to be run, which stays where it is. */
  async function entry(key: string): Promise<string | null> {
    const text = await storage.get(key);
    // Nobody but its holder takes anything out of a queue: that is what some storages answer when they fail.
    if (text === null) throw new Error(`${key} could not be read from the storage`);
    const found = entryOf(text);
    if (found === undefined) {
      options.onWaiting(new Error(`${key} in the storage is damaged: it stays there, and is not pushed`));
      return null;
    }
    options.onFound(found.metadata, idOf(key));
    if (found.collectionIds.some((id) => !Object.hasOwn(options.collections, id))) {
      notGiven += 1;
      return null;
    }
    given += 1;
    return text;
  }
  const executor = offline.startOfflineExecutor({
    collections: options.collections as never,
    mutationFns: { [push]: ({ transaction }) => options.send(transaction as unknown as OfflineTransaction) },
    storage: { ...storage, get: (key) => reading(() => entry(key)), keys: () => reading(() => storage.keys()) },
    leaderElection: alone,
    onlineDetector: options.detector.forOne(),
    beforeRetry(stored) {
      // An entry is written once: how often it was tried is of no use to the next page, and a failure to note it would count as one to push it.
      internals.outbox.update = async () => undefined;
      try {
        // Those that it cannot read it leaves out, and says so to the console.
        if (stored.length < given)
          options.onWaiting(
            new Error(
              `${given - stored.length} transactions in the storage are damaged: they stay there, and are not pushed`,
            ),
          );
        return stored.map(asFound).sort((a, b) => orderOf(a) - orderOf(b));
      } catch (error) {
        unread = error;
        throw error;
      }
    },
  });
  const internals = executor as unknown as Internals;
  tame(executor);
  const end = () => {
    endWriting();
    executor.dispose();
  };
  try {
    await executor.waitForInit();
    if (unread !== undefined) throw unread;
  } catch (error) {
    // Held on to, the queue would be nobody's until this page is gone.
    end();
    held.release();
    throw error;
  }
  if (notGiven > 0)
    options.onWaiting(
      new Error(
        `${notGiven} transactions of collections that this outbox was not given wait; give it those again, under the same names, and they go on`,
      ),
    );
  return {
    async add({ id, mutations, metadata }) {
      const pushed = executor.waitForTransactionCompletion(id);
      const kept = internals.persistTransaction({
        ...{ id, mutations: mutations.map(plain), metadata, mutationFnName: push, idempotencyKey: id, version: 1 },
        ...{ keys: mutations.map(({ globalKey }) => globalKey), retryCount: 0, ...inOrder(metadata) },
      });
      kept.catch((error: Error) => executor.rejectTransaction(id, error));
      await pushed;
    },
    pendingCount: () => executor.getPendingCount(),
    end,
    release: held.release,
  };
}

/** What is read of an entry before the library reads it; undefined where it cannot be. */
function entryOf(text: string): { metadata: Metadata; collectionIds: string[] } | undefined {
  try {
    const { metadata, mutations } = JSON.parse(text) as {
      metadata: Metadata;
      mutations: { collectionId: string }[];
    };
    pushOf(metadata);
    if (!Number.isSafeInteger(metadata.order)) return undefined;
    return { metadata, collectionIds: mutations.map(({ collectionId }) => collectionId) };
  } catch {
    return undefined;
  }
}

function tame(executor: OfflineExecutor): void {
  // The library rejects before it listens, which browsers report as an error nobody caught.
  const completion = executor.waitForTransactionCompletion.bind(executor);
  executor.waitForTransactionCompletion = (id) => {
    const completed = completion(id);
    completed.catch(() => undefined);
    return completed;
  };
  const internals = executor as unknown as Internals;
  const register = internals.registerRestorationTransaction.bind(executor);
  internals.registerRestorationTransaction = (id, shown) => {
    standsAlone(shown);
    register(id, shown);
  };
}

/** The library sorts by a time of a millisecond, of a clock that goes back: so it is given the order, as times that are past. */
const inOrder = ({ order }: Metadata) => ({ createdAt: new Date(order), nextAttemptAt: 0 });

const orderOf = ({ createdAt }: OfflineTransaction): number => createdAt.getTime();

type Mutation = OfflineTransaction["mutations"][number];

/** Its rows as values of JSON, and as they were. */
const plain = (mutation: Mutation): Mutation => withRows(mutation, plainButTimes);
function asFound(stored: OfflineTransaction): OfflineTransaction {
  const mutations = stored.mutations.map((kept) => {
    const mutation = withRows(kept, rowOfPlain);
    return { ...mutation, key: mutation.collection.getKeyFromItem(mutation.modified) };
  });
  return { ...stored, mutations, ...inOrder(stored.metadata as Metadata) };
}

const withRows = (mutation: Mutation, change: (row: object) => Record<string, unknown>): Mutation => ({
  ...mutation,
  modified: change(mutation.modified),
  original: change(mutation.original),
  changes: change(mutation.changes),
});

/** Each queue is its holder's alone: that is what its lock says. */
const alone = {
  requestLeadership: async () => true,
  releaseLeadership: () => undefined,
  isLeader: () => true,
  onLeadershipChange: () => () => undefined,
};
