import { CollectionImpl, createTransaction, type PendingMutation, type Transaction } from "@tanstack/db";
import type { OfflineTransaction } from "@tanstack/offline-transactions";
import { afterTime, nextTime } from "../clock.js";
import { longestAskedMs } from "../follow.js";
import {
  type Call,
  type Change,
  type DeviceStorage,
  exactJson,
  memoryStorage,
  type PerchClient,
  PerchError,
  type PushResult,
} from "../index.js";
import { settledWithin, sleep } from "../waiting.js";
import { createAside, type SetAside } from "./aside.js";
import { type AnyCollection, echoOf, keepShown, standsAlone } from "./echoes.js";
import { savesEnded } from "./kept.js";
import { onlineDetector, page } from "./page.js";
import { type Metadata, type Push, push, pushOf, type RunningQueue, runQueue } from "./queue-runner.js";
import {
  closedOutbox,
  type HeldQueue,
  holdOne,
  type Locks,
  processLocks,
  storedQueues,
  tryHold,
  watched,
} from "./queues.js";
import { changeOf, type RowSpec, rejectionOf } from "./rows.js";

export interface OutboxCollection {
  collection: AnyCollection;
  /** As it was passed to perchWrites; of a collection of records `recordSpec({ appId, table, spaceId })`. */
  // biome-ignore lint/suspicious/noExplicitAny: of rows of all kinds
  spec: RowSpec<any>;
}

export interface OutboxOptions {
  /** Who is signed in, by the id that tokens name: with a token of somebody else nothing is sent. */
  user: string;
  /** By names that stay the same from one version of the app to the next: under these, changes wait. */
  collections: Record<string, OutboxCollection>;
  /** Told of what the server refused, once it is kept. */
  onSetAside?: (entry: SetAside) => void;
  /** Told why something waits. */
  onWaiting?: (error: unknown) => void;
  /** IndexedDB, a database for each user, when not given; memory where there is none. */
  storage?: DeviceStorage;
  /** navigator.locks, when not given. */
  locks?: Locks;
}

export interface MutateOptions {
  /** A function of the app's to be called instead of writing the rows: what the work does is what is shown until its echo. */
  call?: Pick<Call, "name" | "args"> & { appId: string };
}

export interface Written {
  /** Settles when the server has taken it and its echo has come, or when it was refused. */
  transaction: Transaction;
  /** Resolves when it is kept on the device: from then on nothing loses it. */
  stored: Promise<void>;
}

export interface Outbox {
  /** Writes to collections, in one transaction: shown at once, kept, and pushed as a whole when there is a network. */
  mutate(work: () => void, options?: MutateOptions): Written;
  /** How many transactions of this tab wait. */
  pending(): number;
  /** Tries at once, as when the network is back. */
  tryNow(): void;
  setAside(): Promise<SetAside[]>;
  /** The app has shown it, and it is forgotten. */
  discard(id: string): Promise<void>;
  /** Stops. What waits is sent when an outbox of this user is opened again. */
  close(): Promise<void>;
  /** Stops, in all tabs, and takes everything of the user off the device: what waits, what was refused, and the rows of the collections. */
  signOut(): Promise<void>;
}

/** Of what outboxes keep in a storage that may have more. */
const outboxPrefix = "outbox/";
/** How often it is looked for queues of tabs that are gone. */
const lookMs = 10_000;
/** The queue of the outbox that a collection was given to last: an earlier one, perhaps of another user, has no say in it any more. */
const takenBy = new WeakMap<AnyCollection, HeldQueue>();
/** For so long the other tabs are waited for, and a storage that does not answer. */
const patienceMs = 5_000;

/** It waits. Nothing in these words may look to the library like an error that ends it. */
const waits = (cause: unknown) => new Error("not pushed yet; it is tried again", { cause });

/**
 * A durable outbox on `@tanstack/offline-transactions`. What it adds to it, and why:
 *
 * - Each tab has a queue of its own and holds a Web Lock on it for as long as it lives. Whoever gets the lock of a queue (its tab is gone) runs
 *   it to its end: every queue has one sender at any time, none is forgotten, and what a tab without the lead writes is as durable.
 * - A tab that is opened takes a queue that was left as its own, so what is written after a reload comes behind what was before. Others that
 *   were left go first. So no change of a record overtakes an earlier one.
 * - Ids of changes are made of the transaction's: however often it is replayed, after whatever crash, it is applied once.
 * - All mutations of a transaction apply or none. What the server refuses is kept aside before it leaves the queue.
 * - What is shown optimistically stays until the echo has been seen, and the next transaction does not wait for that. Meanwhile collections go on to show
 *   what others write: a transaction of the library's own would hold that back for as long as it waits.
 */
export async function perchOutbox(client: PerchClient, options: OutboxOptions): Promise<Outbox> {
  const offline = await import("@tanstack/offline-transactions");
  const { user, collections } = options;
  demandOneCopy(offline, collections);
  const name = `perch-outbox/${user}`;
  const isDurable = page.indexedDB !== undefined;
  const given = options.storage ?? (isDurable ? new offline.IndexedDBAdapter(name) : memoryStorage());
  const storage = watched(given, `${outboxPrefix}${encodeURIComponent(user)}/`);
  const locks = options.locks ?? page.navigator?.locks ?? processLocks;
  const stop = new AbortController();
  const onWaiting = (error: unknown) => tell(options.onWaiting, error);
  const aside = createAside(storage, onWaiting);
  const discarded = new Set<string>();
  /** Who waits for what was written to be kept. */
  const storing = new Map<string, { resolve: () => void; reject: (error: unknown) => void }>();
  /** What was found in storage, as against what was written since this page was opened, and its place among all. */
  const found = new Map<string, Date>();
  const written = new Map<string, Transaction>();
  const echoes = new Map<string, Promise<unknown>>();
  const specs = new Map(Object.values(collections).map(({ collection, spec }) => [collection.id as string, spec]));
  const queues = new Map<string, RunningQueue>();
  const detector = onlineDetector(stop.signal);
  let order = 0;
  /** When the last was written, by a clock that does not go back. */
  let writtenAt = 0;
  /** The server has said that it wants nothing before then, by performance.now(). */
  let notBefore = 0;
  /** It is known which queues were left. */
  let hasLooked = false;

  // Who signs out in another tab is heard from the beginning on.
  const channel = typeof BroadcastChannel === "undefined" ? undefined : new BroadcastChannel(name);
  // A test's process is not to be kept alive by a channel that waits.
  (channel as { unref?: () => void } | undefined)?.unref?.();
  if (channel !== undefined) channel.onmessage = () => void leave();

  /** `before`: queues that go first. */
  async function run(held: HeldQueue, before: () => readonly RunningQueue[]): Promise<void> {
    const isOwn = held.id === own?.id;
    const queue = await runQueue(offline, held, {
      storage,
      collections: Object.fromEntries(Object.entries(collections).map(([key, { collection }]) => [key, collection])),
      detector,
      async send(transaction) {
        if (isOwn && !hasLooked) throw waits("it is not known yet what other tabs left, which goes first");
        if (before().some((each) => each.pendingCount() > 0)) throw waits("what another tab left goes first");
        try {
          await send(transaction, offline.NonRetriableError);
        } catch (error) {
          if (error instanceof offline.NonRetriableError) throw error;
          if (!stop.signal.aborted) onWaiting(error);
          throw waits(error);
        } finally {
          // Those that waited for this queue need not wait for their next turn.
          if (!isOwn) setTimeout(() => (queues.get(held.id)?.pendingCount() ?? 0) === 0 && detector.notify());
        }
      },
      onFound(metadata, id) {
        found.set(id, new Date(metadata.order));
        order = Math.max(order, metadata.order + 1);
        for (const change of pushOf(metadata).changes) if (change.op !== "call" && change.at) afterTime(change.at);
      },
      onStored: (id) => storing.get(id)?.resolve(),
      onWaiting,
    });
    queues.set(held.id, queue);
    if (!stop.signal.aborted) return;
    // Closed meanwhile.
    queue.end();
    queue.release();
    throw closedOutbox();
  }

  async function send(
    { id, metadata, ...transaction }: OfflineTransaction,
    Final: new (message: string) => Error,
  ): Promise<void> {
    // The library may have been made with another copy of TanStack's types.
    const mutations = transaction.mutations as unknown as PendingMutation[];
    const refused = found.has(id) ? await aside.get(id) : undefined;
    // The page was gone between the two steps. What the user was told is refused is not to be taken after all.
    if (refused !== undefined) throw new Final(refused.error.message);
    if (discarded.has(id)) throw new Final("it was refused, and discarded");
    await sleep(notBefore - performance.now(), stop.signal);
    const made = pushOf(metadata as Metadata);
    let results: PushResult[];
    try {
      // Nothing is tried again in there: it is the executor's to wait, since it knows when the network is back.
      ({ results } = await client.push({ ...made, userId: user, atomic: true, patienceMs: 0, signal: stop.signal }));
    } catch (error) {
      if (stop.signal.aborted || !isFinal(error)) {
        const seconds = error instanceof PerchError ? (error.retryAfter ?? 0) : 0;
        notBefore = Math.max(notBefore, performance.now() + Math.min(seconds * 1_000, longestAskedMs));
        throw error;
      }
      await putAside(id, made.changes, error);
      throw new Final(error.message);
    }
    const rejection = rejectionOf(results);
    if (rejection !== undefined) {
      await putAside(id, made.changes, rejection);
      throw new Final(rejection.message);
    }
    const since = found.get(id);
    found.delete(id);
    const place = since === undefined ? written.get(id) : { createdAt: since };
    const seen = echoOf(mutations, results, place ?? { createdAt: new Date() });
    if (since === undefined) echoes.set(id, seen);
    else keepShown(mutations, { createdAt: since }, seen);
  }

  function changesOf(mutations: readonly PendingMutation[], key: string, call: MutateOptions["call"]): Push {
    if (call !== undefined) {
      const { appId, name, args } = call;
      return { appId, changes: [{ op: "call" as const, name, args: args ?? null, op_id: key }] };
    }
    const specOf = (mutation: PendingMutation) => specs.get(mutation.collection.id);
    const appIds = new Set(mutations.map((mutation) => specOf(mutation)?.appId));
    const [appId = ""] = appIds;
    if (appIds.size > 1 || appIds.has(undefined)) {
      throw new Error("a transaction of an outbox writes to collections that it was given, and to those of one app");
    }
    const changes = mutations.map((mutation, nth) =>
      changeOf(specOf(mutation) as RowSpec, mutation, `${key}-${nth}`, nextTime()),
    );
    return { appId, changes };
  }

  async function putAside(id: string, changes: (Change | Call)[], error: PerchError): Promise<void> {
    tell(options.onSetAside, await aside.put(id, changes, error));
  }

  /** Looks for queues whose tabs are gone. */
  async function adopt(): Promise<void> {
    for (const id of await storedQueues(storage)) {
      if (stop.signal.aborted || queues.has(id)) continue;
      const held = await tryHold(locks, name, id);
      if (held === undefined) continue;
      if (stop.signal.aborted) held.release();
      else await run(held, () => []);
    }
  }

  /** A storage that fails now is asked again by the next look. */
  async function adoptQuietly(): Promise<void> {
    try {
      await adopt();
      if (!hasLooked) setTimeout(detector.notify);
      hasLooked = true;
    } catch (error) {
      if (!stop.signal.aborted) onWaiting(error);
    }
  }

  let closing: Promise<void> | undefined;
  let timer: ReturnType<typeof setInterval> | undefined;
  let unlisten: ((() => void) | undefined)[] = [];
  let own: HeldQueue | undefined;

  /** Ends all work of this tab. `last`: what is to be done before others may think that this tab writes nothing more. */
  async function close(last?: () => Promise<void>): Promise<void> {
    if (closing !== undefined) {
      await closing;
      return last?.();
    }
    closing = (async () => {
      clearInterval(timer);
      stop.abort();
      for (const each of unlisten) each?.();
      for (const queue of queues.values()) queue.end();
      await settledWithin(patienceMs, storage.writesEnded());
      // Behind what these say themselves.
      await sleep(0);
      for (const { reject } of storing.values()) reject(closedOutbox());
    })();
    await closing;
    await last?.();
    for (const queue of queues.values()) queue.release();
  }

  /** Also of an outbox that is closed: its collections may go on, and keep the user's rows. */
  async function leave(): Promise<void> {
    channel?.close();
    await close(async () => {
      for (const each of [...written.values()]) each.rollback({ error: closedOutbox() });
      for (const { collection } of Object.values(collections)) {
        if (takenBy.get(collection) === own) await collection.cleanup();
      }
      await settledWithin(patienceMs, savesEnded(given));
    });
  }

  const others = () => [...queues].filter(([id]) => id !== own?.id).map(([, queue]) => queue);
  try {
    own = await holdOne(storage, locks, name);
    await adoptQuietly();
    await run(own, others);
  } catch (error) {
    own?.release();
    channel?.close();
    await close();
    throw error;
  }
  const ownQueue = queues.get(own.id) as RunningQueue;
  for (const { collection } of Object.values(collections)) takenBy.set(collection, own);
  let lookedAt = Date.now();
  timer = setInterval(() => {
    // The library waits until a time, which is far away when the clock was set back.
    if (Date.now() < lookedAt) detector.notify();
    lookedAt = Date.now();
    void adoptQuietly();
  }, lookMs);
  unlisten = Object.values(collections).map(({ collection }) => collection.utils.sync?.onOpen?.(detector.notify));

  /** Written, pushed and seen; or refused, or not kept, and taken back. */
  async function settle(transaction: Transaction, pushed: Promise<void>): Promise<void> {
    const { id } = transaction;
    try {
      await pushed;
      await echoes.get(id);
      if (transaction.state !== "pending") return;
      transaction.setState("completed");
      transaction.touchCollection();
      transaction.isPersisted.resolve(transaction);
    } catch (error) {
      if (transaction.state === "pending") transaction.rollback({ error: error as Error });
    } finally {
      storing.delete(id);
      echoes.delete(id);
      written.delete(id);
    }
  }

  return {
    mutate(work, { call } = {}) {
      if (stop.signal.aborted) throw closedOutbox();
      const transaction = createTransaction({ autoCommit: false, mutationFn: async () => undefined }) as Transaction;
      writtenAt = Math.max(writtenAt, Date.now());
      transaction.createdAt = new Date(writtenAt);
      transaction.mutate(work);
      const { id, mutations } = transaction;
      if (mutations.length === 0 && call === undefined) {
        void transaction.commit();
        return { transaction, stored: Promise.resolve() };
      }
      let metadata: Metadata;
      try {
        // As they are now: what is pushed after a reload is what would have been pushed before it.
        metadata = { order, push: exactJson.stringify(changesOf(mutations, id, call)) };
      } catch (error) {
        transaction.rollback();
        throw error;
      }
      order += 1;
      // Not persisting: as long as one is, its collections show nothing that others write.
      standsAlone(transaction);
      written.set(id, transaction);
      const stored = new Promise<void>((resolve, reject) => {
        storing.set(id, { resolve, reject });
        const pushed = ownQueue.add({
          id,
          mutations: mutations as unknown as OfflineTransaction["mutations"],
          metadata,
        });
        pushed.catch(reject);
        void settle(transaction, pushed);
      });
      // Whoever does not ask hears of it by the transaction.
      stored.catch(() => undefined);
      return { transaction, stored };
    },
    pending: () => [...queues.values()].reduce((sum, queue) => sum + queue.pendingCount(), 0),
    tryNow() {
      void adoptQuietly();
      detector.notify();
    },
    setAside: () => aside.list(),
    discard(id) {
      discarded.add(id);
      return aside.discard(id);
    },
    close: () => close(),
    async signOut() {
      channel?.postMessage("sign-out");
      await leave();
      // Other tabs give their queues back when they have stopped: what they write now would come after the end.
      const patience = AbortSignal.timeout(patienceMs);
      for (const id of await storedQueues(storage)) {
        await locks.request(`${name}/${id}`, { signal: patience }, async () => undefined).catch(() => undefined);
      }
      const left = await clear(given, user);
      if (left > 0)
        throw new Error(
          `${left} entries of ${name} could not be taken off this device; close its other tabs and sign out again, or clear the site's data`,
        );
    },
  };
}

/** All but what outboxes of other users keep in it. Out: how many entries are left all the same. */
async function clear(storage: DeviceStorage, user: string): Promise<number> {
  const own = `${outboxPrefix}${encodeURIComponent(user)}/`;
  const list = async () => (await storage.keys()).filter((key) => !key.startsWith(outboxPrefix) || key.startsWith(own));
  for (const key of await list()) await storage.delete(key);
  return (await list()).length;
}

/** What a callback of the app's throws is the app's: reported, and nothing that is under way fails of it. */
function tell<T>(callback: ((value: T) => void) | undefined, value: T): void {
  try {
    callback?.(value);
  } catch (error) {
    (page.reportError ?? console.error)(error);
  }
}

/** Collections of one copy know nothing of another's transactions: what is written would not be kept, and nobody would hear of it. */
function demandOneCopy(
  { OfflineTransactionAPI }: typeof import("@tanstack/offline-transactions"),
  collections: OutboxOptions["collections"],
): void {
  const never = async () => undefined;
  const ours = createTransaction({ autoCommit: false, mutationFn: never });
  const theirs = new OfflineTransactionAPI({ mutationFnName: push, autoCommit: false }, never, never, undefined).mutate(
    () => undefined,
  );
  for (const each of [ours, theirs]) {
    each.isPersisted.promise.catch(() => undefined);
    each.rollback();
  }
  const isOne =
    ours.constructor === theirs.constructor &&
    Object.values(collections).every(({ collection }) => collection instanceof CollectionImpl);
  if (isOne) return;
  throw new Error(
    'there are several copies of @tanstack/db: all of TanStack\'s packages must share one. In package.json "overrides": ' +
      '{"@tanstack/db": "$@tanstack/db"}, or in Vite resolve: { dedupe: ["@tanstack/db"] }',
  );
}

/**
 * Whether perch would refuse this push again, whoever sends it, and from wherever. A token that is refused is the user's to renew; a host, an origin
 * or an address that is wrong (PE403, PE404, PE405) says nothing of what is in it, and is so for all that waits.
 */
function isFinal(error: unknown): error is PerchError {
  return error instanceof PerchError && /^PE4(09|10|13|22)$/.test(error.code);
}
