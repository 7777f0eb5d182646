import type { Database } from "../database/types.js";
import type { WorkerLog } from "./log.js";
import type { WorkerSettings } from "./settings.js";

export interface Retention {
  /** Finishes the batch under way. */
  close(): Promise<void>;
}

export interface RetentionOptions {
  readonly db: Database;
  readonly log: WorkerLog;
  readonly settings: Pick<WorkerSettings, "keepChangesMs" | "keepChangesLast" | "pruneEveryMs">;
}

/**
 * Forgets old log entries, in batches of a transaction each, every `pruneEveryMs`; without `keepChangesMs` never. Several workers
 * may do so at once: each leaves alone what another is at.
 */
export function startRetention({ db, log, settings }: RetentionOptions): Retention {
  const { keepChangesMs, keepChangesLast, pruneEveryMs } = settings;
  if (keepChangesMs === undefined) return { close: async () => undefined };
  let closed = false;
  let pruning = prune();
  const timer = setInterval(() => {
    pruning = pruning.then(prune);
  }, pruneEveryMs);
  timer.unref();

  async function prune(): Promise<void> {
    let forgotten = 0;
    try {
      while (!closed) {
        const [row] = await db.query<{ pruned: number }>(
          "select perch.prune_changes(keep_for => make_interval(secs => $1 / 1000.0), keep_last => $2) as pruned",
          [keepChangesMs, keepChangesLast],
        );
        if (!row || row.pruned === 0) break;
        forgotten += row.pruned;
      }
    } catch (error) {
      log.warn({ err: error }, "forgetting old log entries failed; it is tried again later");
    }
    if (forgotten > 0) log.info({ forgotten }, "forgot old log entries");
  }

  return {
    async close() {
      closed = true;
      clearInterval(timer);
      await pruning;
    },
  };
}
