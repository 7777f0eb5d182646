import type { Database } from "../database/types.js";
import type { WorkerLog } from "./worker.js";

export interface Watch {
  /** A writer rang the log's bell itself. */
  rung(): void;
  /** Rings for what writers left to the workers. Part of every poll. Errors: the database's. */
  look(): Promise<void>;
  /** Watches no more; what writers still leave is found by another worker, or by the next one's first look. */
  close(): Promise<void>;
}

export interface WatchOptions {
  readonly db: Database;
  readonly log: WorkerLog;
}

const lookSql = "select perch.look(watch_for => $1::interval) as rung";

/** Between two looks while the log is busy: how late a ring may come then. */
const betweenLooksMs = 25;
/** So many rings of writers within this time, and the worker begins to ring for them. */
const busyRings = 10;
const busyWithinMs = 500;
/** Nothing found for so long, and it stops. */
const quietMs = 1_000;
/** How long a look's promise to look again holds. */
const promise = "2 seconds";
const promiseMs = 2_000;

/**
 * Rings on the writers' behalf while the log is busy (see perch.ring_changes for why, and why no ring is lost).
 *
 * It begins when writers ring often, and promises to look again; from then on they leave their rings in a table. When nothing was
 * found for a while it promises no more, but goes on looking until the last promise has run out. PGlite has one session, where
 * nobody waits for anybody: there it never begins.
 */
export function createWatch({ db, log }: WatchOptions): Watch {
  let recent: number[] = [];
  let lastFound = 0;
  let promisedUntil = 0;
  let watching: Promise<void> | undefined;
  let closed = false;

  async function ring(watchFor: string): Promise<void> {
    const [row] = await db.query<{ rung: number }>(lookSql, [watchFor], { prepare: true });
    if (row !== undefined && row.rung > 0) lastFound = Date.now();
  }

  async function watch(): Promise<void> {
    while (!closed) {
      const busy = Date.now() - lastFound < quietMs;
      if (!busy && Date.now() > promisedUntil) return;
      try {
        await ring(busy ? promise : "0");
        if (busy) promisedUntil = Date.now() + promiseMs;
      } catch (error) {
        // The poll goes on looking; when writers ring again, so does this.
        log.warn({ err: error }, "ringing for the writers failed; they ring themselves when the promise has run out");
        return;
      }
      await new Promise((done) => setTimeout(done, betweenLooksMs));
    }
  }

  return {
    rung() {
      if (db.kind !== "postgres" || watching || closed) return;
      const now = Date.now();
      recent = [...recent.filter((at) => now - at < busyWithinMs), now];
      if (recent.length < busyRings) return;
      recent = [];
      lastFound = now;
      watching = watch().finally(() => {
        watching = undefined;
      });
    },
    look: () => ring("0"),
    async close() {
      closed = true;
      await watching;
    },
  };
}
