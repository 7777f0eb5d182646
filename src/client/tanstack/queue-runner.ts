import type { Transaction } from "@tanstack/db";
import type { OfflineExecutor, OfflineTransaction } from "@tanstack/offline-transactions";
import type { DeviceStorage } from "../index.js";
import { type AnyCollection, standsAlone } from "./echoes.js";
import type { onlineDetector } from "./page.js";
import { plainRow, rowOfPlain } from "./plain.js";
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
  /** What was in storage, in its order, before any of it is sent. */
  onFound(transactions: readonly OfflineTransaction[]): void;
  onStored(transactionId: string): void;
  onWaiting(error: unknown): void;
}

/** A queue while this page runs it. */
export interface RunningQueue {
  readonly executor: OfflineExecutor;
  /** Writes and sends nothing any more. The lock is still held. */
  end(): void;
  release(): void;
}

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
  let read = 0;
  /** Why it could not be read. The library says so to the console, and goes on without what it did not see. */
  let unread: unknown;
  const reading = <T>(answer: Promise<T>): Promise<T> => {
    answer.catch((error: unknown) => {
      unread ??= error;
    });
    return answer;
  };
  const executor = offline.startOfflineExecutor({
    collections: options.collections as never,
    mutationFns: {
      [push]: ({ transaction }) => options.send(transaction as unknown as OfflineTransaction),
    },
    storage: {
      ...storage,
      get: (key) => reading(storage.get(key)),
      keys: () => reading(storage.keys()),
    },
    leaderElection: alone,
    onlineDetector: options.detector.forOne(),
    beforeRetry(stored) {
      // An entry is written once: how often it was tried is of no use to the next page, and a failure to note it would count as one to push it.
      (executor as unknown as Internals).outbox.update = async () => undefined;
      try {
        const found = stored.map(asFound).sort((a, b) => orderOf(a) - orderOf(b));
        options.onFound(found);
        read = stored.length;
        return found;
      } catch (error) {
        unread = error;
        throw error;
      }
    },
  });
  tame(executor);
  const end = () => {
    endWriting();
    executor.dispose();
  };
  let kept: number;
  try {
    const [keys] = await Promise.all([storage.keys(), executor.waitForInit()]);
    if (unread !== undefined) throw unread;
    kept = keys.length;
  } catch (error) {
    // Held on to, the queue would be nobody's until this page is gone.
    end();
    held.release();
    throw error;
  }
  // They stay, and the library says so to the console only.
  if (kept > read)
    options.onWaiting(
      new Error(
        `${kept - read} transactions of collections that this outbox was not given wait; give it those again, under the same names, and they go on`,
      ),
    );
  return { executor, end, release: held.release };
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
  const persist = internals.persistTransaction.bind(executor);
  internals.persistTransaction = (transaction) =>
    persist(inOrder({ ...transaction, mutations: transaction.mutations.map(plain) }));
  const register = internals.registerRestorationTransaction.bind(executor);
  internals.registerRestorationTransaction = (id, shown) => {
    standsAlone(shown);
    register(id, shown);
  };
}

/** The library sorts by a time of a millisecond, of a clock that goes back: so it is given the order, as times that are past. */
const inOrder = (transaction: OfflineTransaction): OfflineTransaction => ({
  ...transaction,
  createdAt: new Date(orderOf(transaction)),
  nextAttemptAt: 0,
});

const orderOf = ({ metadata }: OfflineTransaction): number => (metadata as Metadata | undefined)?.order ?? 0;

type Mutation = OfflineTransaction["mutations"][number];

/** Its rows as values of JSON, and as they were. */
const plain = (mutation: Mutation): Mutation => withRows(mutation, plainRow);
function asFound(stored: OfflineTransaction): OfflineTransaction {
  const mutations = stored.mutations.map((kept) => {
    const mutation = withRows(kept, rowOfPlain);
    return { ...mutation, key: mutation.collection.getKeyFromItem(mutation.modified) };
  });
  return inOrder({ ...stored, mutations });
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
