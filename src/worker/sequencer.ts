import { isCancelled } from "../database/errors.js";
import type { Database } from "../database/types.js";
import { createBurst } from "../lib/burst.js";
import type { WorkerLog } from "./log.js";

export interface Sequencer {
  /** A writer of a synced table notified. */
  notified(): void;
  /** Gives what was captured its numbers, and promises to go on doing so. Part of every poll. Errors: the database's. */
  poll(): Promise<void>;
  /** Begins no further batch. */
  close(): Promise<void>;
}

interface Batch {
  readonly moved: number;
  readonly behind: string | null;
}

export interface SequencerOptions {
  readonly db: Database;
  readonly log: WorkerLog;
}

/** `behind` is 'on' where a batch could not take all that waits; asked behind the batch, as selected things are in their order. */
const sequenceSql =
  "select perch.sequence_changes() as moved, current_setting('perch.sequencer_behind', true) as behind";
const promiseSql = "select perch.promise_sequencing(serve_for => $1::interval, watch_for => $2::interval)";

/** How long readers leave it to the workers after a poll; several polls may be late. */
const servePromise = "4 seconds";
/** From one batch to the next while tables are busy: how late a change may come then. */
const betweenBatchesMs = 5;
/**
 * A batch costs as much as some fifty changes in it, on the processors that writers need. Behind one of many changes the pause is longer, so
 * that the next has more: from 2,000 changes a second on it grows, to this.
 */
const longestPauseMs = 20;
const pausePerChangeMs = 0.5;
/** So many notifications of writers within this time, and the worker begins to poll by itself. */
const busyNotifications = 5;
const busyWithinMs = 500;
/** Nothing found for so long, and it stops. */
const quietMs = 1_000;
/** How long the promise holds that spares writers notifying. */
const pollPromise = "2 seconds";
const pollPromiseMs = 2_000;

/**
 * Gives the changes of synced tables their numbers (see perch.number_captured): when a writer notifies, and with every poll. When writers
 * notify often it promises to poll by itself, and they leave it to that, since a commit that notifies makes others wait. PGlite has one
 * session, where nobody waits for anybody: there it promises nothing of the kind. Any number of workers may do so: one has its turn at a time.
 */
export function createSequencer({ db, log }: SequencerOptions): Sequencer {
  const isBurst = createBurst(busyNotifications, busyWithinMs);
  let lastFound = 0;
  let promisedUntil = 0;
  let working: Promise<void> | undefined;
  /** A notification came since the last poll began. */
  let again = false;
  /** Writers notify often: it polls by itself, and promises to. */
  let polling = false;
  /**
   * The last batch was ended for its time: it has a transaction of millions of rows, which is never cut. The same would happen to it each
   * time, and nobody's changes would get numbers any more; so the next that gives any is given as long as it takes. One that gives none came
   * while somebody else was at it, a poll of this worker perhaps, that will be ended as well.
   */
  let isLong = false;
  let closed = false;

  /** One batch, in a transaction of its own. Out: how many changes it had, and whether it left any. */
  async function sequence(): Promise<Batch> {
    const how = isLong ? { unlimited: true } : { prepare: true };
    const [row] = await db.query<Batch>(sequenceSql, [], how).catch((error: unknown) => {
      if (isLong || !isCancelled(error)) throw error;
      log.warn(
        { err: error },
        "numbering a large transaction takes longer than a statement may; it is given the time it needs",
      );
      isLong = true;
      return [{ moved: 1, behind: "on" }];
    });
    if (row === undefined || row.moved === 0) return { moved: 0, behind: "" };
    if (how.unlimited) isLong = false;
    lastFound = Date.now();
    return row;
  }

  async function work(): Promise<void> {
    while (!closed) {
      const isBusy = polling && Date.now() - lastFound < quietMs;
      // Between batches, too: under a steady load there is always a next one.
      if (isBusy && promisedUntil - Date.now() < pollPromiseMs / 2) {
        await db.query(promiseSql, [servePromise, pollPromise], { prepare: true });
        promisedUntil = Date.now() + pollPromiseMs;
      }
      again = false;
      const began = performance.now();
      const { moved, behind } = await sequence();
      const mayBeMore = moved > 0 || again;
      if (mayBeMore && !isBusy) continue;
      if (!isBusy && Date.now() > promisedUntil) return;
      // While tables are busy there is always a next batch: one that comes at once would be of a few changes, and cost as much as
      // one of many.
      const untilNext = betweenBatchesMs - (mayBeMore ? performance.now() - began : 0);
      const rest =
        behind === "on" ? untilNext : Math.max(untilNext, Math.min(longestPauseMs, moved * pausePerChangeMs));
      if (rest > 0) await new Promise((done) => setTimeout(done, rest));
    }
  }

  function begin(): void {
    again = true;
    working ??= work()
      .catch((error: unknown) => {
        log.warn({ err: error }, "giving changes of synced tables their numbers failed; the next poll tries again");
      })
      .finally(() => {
        promisedUntil = 0;
        polling = false;
        working = undefined;
      });
  }

  return {
    notified() {
      if (closed) return;
      if (db.kind === "postgres" && isBurst()) {
        lastFound = Date.now();
        polling = true;
      }
      begin();
    },
    async poll() {
      if (closed) return;
      await db.query(promiseSql, [servePromise, "0"], { prepare: true });
      // The poll waits for no more than a batch: under a steady load there is always a next one. And for none that may take minutes.
      if (isLong || (await sequence()).moved > 0) begin();
    },
    async close() {
      closed = true;
      // What was not committed when the connection ends is begun anew by whoever comes next.
      if (!isLong) await working;
    },
  };
}
