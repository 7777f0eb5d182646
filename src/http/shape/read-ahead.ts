import type { Reservation } from "../../lib/ledger.js";
import type { RowsPage } from "../../shapes/queries.js";

/**
 * Read-ahead of first snapshots: while a reader takes in one chunk, the next is read. What a chunk is follows from the shape, the moment
 * that the snapshot shows and where the chunk begins, so it makes no difference who reads it when; whoever comes for it is looked at anew all the
 * same, before it is given. One chunk for each user, of which one is read at a time, a few for all, and each for a moment alone.
 */
export interface ReadAhead {
  /** Begins to read what a reader will ask for next; does nothing while another of the user's is being read, too many are held, or when closed. */
  begin(userId: string, name: string, room: Reservation, read: () => Promise<RowsPage>): void;
  /** What was read ahead under this name, once. Undefined where there is none, or it failed: whoever reads it then is told why. */
  take(userId: string, name: string): Promise<RowsPage | undefined>;
  close(): void;
}

interface Held {
  readonly name: string;
  readonly page: Promise<RowsPage | undefined>;
  /** While nobody has come for it. */
  isBeingRead: boolean;
  drop(): void;
}

/** Of all users together. */
const most = 8;

/** In: for how long a chunk is kept that nobody comes for. */
export function createReadAhead(keepMs = 2_000): ReadAhead {
  const held = new Map<string, Held>();
  let isClosed = false;

  return {
    begin(userId, name, room, read) {
      const before = held.get(userId);
      if (before?.isBeingRead === false) before.drop();
      if (isClosed || before?.isBeingRead || held.size >= most) {
        room.release();
        return;
      }
      let timer: NodeJS.Timeout | undefined;
      const one: Held = {
        name,
        isBeingRead: true,
        // Whoever asks for it reads it, and is told why that fails.
        page: read().catch(() => undefined),
        drop() {
          clearTimeout(timer);
          room.release();
          if (held.get(userId) === one) held.delete(userId);
        },
      };
      held.set(userId, one);
      void one.page.then(() => {
        one.isBeingRead = false;
        if (held.get(userId) === one) timer = setTimeout(one.drop, keepMs);
      });
    },
    async take(userId, name) {
      const one = held.get(userId);
      if (one?.name !== name) return undefined;
      one.drop();
      return one.page;
    },
    close() {
      isClosed = true;
      for (const one of held.values()) one.drop();
    },
  };
}
