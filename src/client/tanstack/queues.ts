import { type DeviceStorage, newId } from "../index.js";
import { pauseMs, settledWithin, sleep } from "../waiting.js";

/** As much of navigator.locks as is needed: a lock goes to one holder among all tabs, and is free again when its tab is gone. */
export interface Locks {
  /** Gets the lock, waiting for it, or with `ifAvailable` only when it is free, and holds it until `hold` resolves. Out: when it is given back. */
  request(
    name: string,
    options: { ifAvailable?: boolean; signal?: AbortSignal },
    hold: (lock: unknown) => Promise<void>,
  ): Promise<unknown>;
}

/** Every lock that nobody holds by these is free. */
export function ownLocks(): Locks {
  const held = new Map<string, Promise<void>>();
  return {
    async request(name, { ifAvailable, signal }, hold) {
      for (let holder = held.get(name); holder !== undefined; holder = held.get(name)) {
        if (ifAvailable) return hold(null);
        await holder;
        signal?.throwIfAborted();
      }
      const work = hold({ name }).finally(() => held.delete(name));
      held.set(
        name,
        work.catch(() => undefined),
      );
      return work;
    },
  };
}

/** Of all outboxes of this process, where there is one tab only: what is locked has a random name. */
export const processLocks: Locks = ownLocks();

/** One tab's queue of what is to be pushed, which nobody else touches as long as it is held. */
export interface HeldQueue {
  readonly id: string;
  /** Lets others have it. */
  release(): void;
}

const keyPattern = /^q\/([0-9a-f]+)\//;

/** The part of a storage that is a queue's. */
export const prefixOf = (queueId: string): string => `q/${queueId}/`;

/** The queues of which something is stored. */
export async function storedQueues(storage: DeviceStorage): Promise<string[]> {
  const ids = (await storage.keys()).flatMap((key) => keyPattern.exec(key)?.[1] ?? []);
  return [...new Set(ids)].sort();
}

/** Tries to hold a queue. Out: undefined when another tab holds it. */
export function tryHold(locks: Locks, name: string, id: string): Promise<HeldQueue | undefined> {
  return new Promise((resolve, reject) => {
    locks
      .request(`${name}/${id}`, { ifAvailable: true }, (lock) => {
        if (lock === null) {
          resolve(undefined);
          return Promise.resolve();
        }
        return new Promise<void>((release) => resolve({ id, release }));
      })
      .catch(reject);
  });
}

/** The queue that a tab writes to: one that was left, so that what the tab writes comes behind what waits in it, or a new one. */
export async function holdOne(storage: DeviceStorage, locks: Locks, name: string): Promise<HeldQueue> {
  for (const id of [...(await storedQueues(storage)), newId()]) {
    const held = await tryHold(locks, name, id);
    if (held !== undefined) return held;
  }
  throw new Error("a lock that nobody else can know of is taken");
}

export const closedOutbox = () =>
  new Error(
    "this outbox is closed: the user signed out, here or in another tab, or its page goes; make a new one with perchOutbox",
  );

/** For so long those that were written before it are waited for. */
const longestWriteMs = 5_000;

export interface QueueStorage {
  readonly storage: DeviceStorage;
  /** From here on nothing is written any more. */
  end(): void;
}

/** What happened to an entry. */
export interface QueueEvents {
  onStored(key: string): void;
  /** What was done with could not be removed; it is tried again. */
  onError(error: unknown): void;
}

/**
 * The part of a storage that is a queue's, as the library needs it, which takes every failure for one of the transaction that it is busy with:
 *
 * - What it is done with is removed at some time: until then the next page sends it again, and the server knows it by its ids.
 * - Entries are written side by side; the library hears of each when those before it are there, too, and so schedules them in their order.
 */
export function partOf(storage: DeviceStorage, prefix: string, { onStored, onError }: QueueEvents): QueueStorage {
  const stop = new AbortController();
  let written: Promise<unknown> = Promise.resolve();

  /** Until it is gone, or nothing is written any more; once in any case. */
  async function remove(key: string): Promise<void> {
    for (let attempt = 0; attempt === 0 || !stop.signal.aborted; attempt++) {
      try {
        return await storage.delete(prefix + key);
      } catch (error) {
        onError(error);
        await sleep(pauseMs(attempt, 500, 30_000), stop.signal);
      }
    }
  }

  async function add(key: string, value: string, before: Promise<unknown>): Promise<void> {
    if (stop.signal.aborted) throw closedOutbox();
    try {
      await storage.set(prefix + key, value);
    } catch (error) {
      // Whoever wrote it is told that it is not kept: nothing of it may be sent by the next page.
      void remove(key);
      throw error;
    }
    onStored(key);
    await settledWithin(longestWriteMs, before);
  }

  const part: DeviceStorage = {
    get: (key) => storage.get(prefix + key),
    set(key, value) {
      const before = written;
      const set = add(key, value, before);
      written = set.catch(() => undefined);
      return set;
    },
    async delete(key) {
      if (!stop.signal.aborted) void remove(key);
    },
    keys: async () =>
      (await storage.keys()).filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length)),
    async clear() {
      for (const key of await part.keys()) await part.delete(key);
    },
  };
  return { storage: part, end: () => stop.abort() };
}

/** The part of a storage whose keys begin so, of which it is known when nothing is being written to it. */
export function watched(storage: DeviceStorage, prefix: string): DeviceStorage & { writesEnded(): Promise<unknown> } {
  const writing = new Set<Promise<void>>();
  const write = async (work: Promise<void>) => {
    writing.add(work);
    await work.finally(() => writing.delete(work));
  };
  const part = {
    get: (key: string) => storage.get(prefix + key),
    set: (key: string, value: string) => write(storage.set(prefix + key, value)),
    delete: (key: string) => write(storage.delete(prefix + key)),
    keys: async () =>
      (await storage.keys()).filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length)),
    async clear() {
      for (const key of await part.keys()) await part.delete(key);
    },
    writesEnded: () => Promise.allSettled(writing),
  };
  return part;
}
