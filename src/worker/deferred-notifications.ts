import type { Database } from "../database/types.js";
import { createBurst } from "../lib/burst.js";
import type { WorkerLog } from "./log.js";

export interface DeferredNotifications {
  /** A writer notified by itself. */
  notified(): void;
  /** Sends the notifications that writers left to the workers. Part of every poll. Errors: the database's. */
  poll(): Promise<void>;
  /** Polls no more; what writers still leave is found by another worker, or by the next one's first poll. */
  close(): Promise<void>;
}

export interface DeferredNotificationsOptions {
  readonly db: Database;
  readonly log: WorkerLog;
}

const pollSql = "select perch.notify_deferred(poll_for => $1::interval) as notified";

/** Between two polls while the log is busy: how late a notification may come then. */
const betweenPollsMs = 25;
/** So many notifications of writers within this time, and the worker begins to notify for them. */
const busyNotifications = 10;
const busyWithinMs = 500;
/** Nothing found for so long, and it stops. */
const quietMs = 1_000;
/** How long a poll's promise to poll again holds. */
const promise = "2 seconds";
const promiseMs = 2_000;

/**
 * Sends deferred notifications on the writers' behalf while the log is busy (see perch.notify_changes for why, and why no notification is lost).
 *
 * It begins when writers notify often, and promises to poll again; from then on they leave their notifications in a table. When nothing was
 * found for a while it promises no more, but goes on polling until the last promise has run out. PGlite has one session, where
 * nobody waits for anybody: there it never begins.
 */
export function createDeferredNotifications({ db, log }: DeferredNotificationsOptions): DeferredNotifications {
  const isBurst = createBurst(busyNotifications, busyWithinMs);
  let lastFound = 0;
  let promisedUntil = 0;
  let polling: Promise<void> | undefined;
  let closed = false;

  async function notifyFor(watchFor: string): Promise<void> {
    const [row] = await db.query<{ notified: number }>(pollSql, [watchFor], { prepare: true });
    if (row !== undefined && row.notified > 0) lastFound = Date.now();
  }

  async function pollWhileBusy(): Promise<void> {
    while (!closed) {
      const busy = Date.now() - lastFound < quietMs;
      if (!busy && Date.now() > promisedUntil) return;
      try {
        await notifyFor(busy ? promise : "0");
        if (busy) promisedUntil = Date.now() + promiseMs;
      } catch (error) {
        // The worker's poll goes on; when writers notify again, so does this.
        log.warn(
          { err: error },
          "notifying for the writers failed; they notify by themselves when the promise has run out",
        );
        return;
      }
      await new Promise((done) => setTimeout(done, betweenPollsMs));
    }
  }

  return {
    notified() {
      if (db.kind !== "postgres" || polling || closed) return;
      if (!isBurst()) return;
      lastFound = Date.now();
      polling = pollWhileBusy().finally(() => {
        polling = undefined;
      });
    },
    poll: () => notifyFor("0"),
    async close() {
      closed = true;
      await polling;
    },
  };
}
