import { documentId } from "../documents/key.js";
import { type BatchBounds, takeBatch } from "../lib/batches.js";
import { costOf } from "./presence-entries.js";
import type { PresenceItem } from "./presence-queries.js";
import type { RoomReader } from "./room.js";

/** Who waits until all that they brought together is stored. */
export interface Waiter {
  /** How many of it are not yet. */
  left: number;
  resolve(): void;
  reject(error: unknown): void;
}

export interface WaitingItem extends PresenceItem {
  /** When it counts no more (as of performance.now()). */
  readonly until: number;
  /** Very many may wait for one key while the database is away. */
  readonly waiters: Waiter[];
  /** For whom it is kept in memory. */
  readonly holder: Pick<RoomReader, "hold"> | undefined;
}

/** How much of one user's is taken before it is the next one's turn. */
const turnBytes = 4_096;

const idOf = ({ room, entry }: PresenceItem) => JSON.stringify([room.kind, documentId(room.key), entry.key]);

/**
 * What waits to be stored of presence: for each user who brought it a queue, in which each key has one place, and the latest entry of it
 * counts. Queues are served in turn, by bytes: whoever brings little waits for nobody who brings much.
 */
export function createWaiting() {
  /** Whose turn it is longest comes first. */
  const queues = new Map<string | null, Map<string, WaitingItem>>();

  function queueOf(user: string | null): Map<string, WaitingItem> {
    const queue = queues.get(user) ?? new Map<string, WaitingItem>();
    queues.set(user, queue);
    return queue;
  }

  function put(queue: Map<string, WaitingItem>, id: string, item: WaitingItem): void {
    const before = queue.get(id);
    before?.holder?.hold(-costOf(before.entry));
    item.holder?.hold(costOf(item.entry));
    queue.set(id, item);
  }

  function remove(user: string | null, id: string, { entry, holder }: WaitingItem): void {
    const queue = queues.get(user);
    queue?.delete(id);
    if (queue?.size === 0) queues.delete(user);
    holder?.hold(-costOf(entry));
  }

  function* inTurn(): Generator<[string, WaitingItem]> {
    // Whoever has taken more than their turn, as something large, sits out until the others have had as much.
    let turns = [...queues.values()].map((queue) => ({ items: queue.entries(), credit: 0, over: false }));
    while (turns.length > 0) {
      for (const turn of turns) {
        turn.credit += turnBytes;
        while (turn.credit > 0 && !turn.over) {
          const next = turn.items.next();
          turn.over = next.done === true;
          if (next.done === true) continue;
          turn.credit -= costOf(next.value[1].entry);
          yield next.value;
        }
      }
      turns = turns.filter(({ over }) => !over);
    }
  }

  return {
    isEmpty: () => queues.size === 0,
    add(item: Omit<WaitingItem, "waiters">, waiter: Waiter): void {
      const id = idOf(item);
      const queue = queueOf(item.entry.broughtBy);
      const waiters = queue.get(id)?.waiters ?? [];
      waiters.push(waiter);
      put(queue, id, { ...item, waiters });
    },
    /** Takes the next ones out, as many as go together. */
    take(bounds: BatchBounds): WaitingItem[] {
      const batch = takeBatch(inTurn(), bounds, ([, { entry }]) => ({ items: 1, bytes: entry.bytes.length }));
      for (const [id, item] of batch) remove(item.entry.broughtBy, id, item);
      for (const user of new Set(batch.map(([, { entry }]) => entry.broughtBy))) {
        const queue = queues.get(user);
        queues.delete(user);
        if (queue !== undefined) queues.set(user, queue);
      }
      return batch.map(([, item]) => item);
    },
    /** Has them wait again, for nobody, but for those of which something newer waits: nobody sets again what they have set. */
    putBack(items: readonly WaitingItem[]): void {
      for (const item of items) {
        const id = idOf(item);
        const queue = queueOf(item.entry.broughtBy);
        if (!queue.has(id)) put(queue, id, { ...item, waiters: [] });
      }
    },
    /** What no room shows any more. However long the database is away, no more waits than the rooms have held. */
    forgetExpired(now: number): void {
      for (const [user, queue] of queues) {
        for (const [id, item] of queue) {
          if (item.until > now) continue;
          remove(user, id, item);
          settle([item]);
        }
      }
    },
  };
}

/** These are stored, or count no more. */
export function settle(items: readonly WaitingItem[]): void {
  for (const { waiters } of items) {
    for (const waiter of waiters) {
      waiter.left -= 1;
      if (waiter.left === 0) waiter.resolve();
    }
  }
}
