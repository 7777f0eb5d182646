import type { Logger } from "pino";
import type { Queryable } from "../database/types.js";
import type { Metrics } from "../lib/metrics.js";

interface Figures {
  pending: number;
  pending_seconds: number | null;
  set_aside: number;
  unprojected: number;
  overdue_seconds: number | null;
  notification_queue: number;
  commit_seconds: number | null;
  captured_seconds: number | null;
}

/** More than this are counted as this many: counting costs as much as there is. */
export const countedAtMost = 10_000;
/** However often somebody scrapes. */
const keepMs = 4_000;
/** A database that is slow to answer must not keep the other figures from being shown. */
const patienceMs = 1_000;

export interface DatabaseFigures {
  /** Brings the figures up to date, when they are older than a few seconds; waits for the database a second at most. */
  refresh(): Promise<void>;
}

/** Adds what the database knows to the metrics. In: a connection with the rights of perch_worker. */
export function addDatabaseFigures(metrics: Metrics, db: Queryable, log: Logger): DatabaseFigures {
  let figures: Figures | undefined;
  let readAt = 0;
  let reading: Promise<void> | undefined;
  const gauge = (name: string, help: string, read: (now: Figures) => number) =>
    metrics.gauge(name, help, () => (figures === undefined ? undefined : read(figures)));
  metrics.gauge("perch_database_up", "Whether the database answered when these figures were asked for.", () =>
    figures === undefined ? 0 : 1,
  );
  gauge(
    "perch_pending_updates",
    `Updates and patches of SQL callers that no worker has merged yet; ${countedAtMost} means as many or more.`,
    ({ pending }) => pending,
  );
  gauge(
    "perch_merge_lag_seconds",
    "Since when the oldest of them has been waiting.",
    ({ pending_seconds }) => pending_seconds ?? 0,
  );
  gauge(
    "perch_set_aside_updates",
    `Updates and patches that were set aside with an error; ${countedAtMost} means as many or more.`,
    ({ set_aside }) => set_aside,
  );
  gauge(
    "perch_unprojected_documents",
    `Documents whose record does not show their latest position yet; ${countedAtMost} means as many or more.`,
    ({ unprojected }) => unprojected,
  );
  gauge(
    "perch_projection_lag_seconds",
    "For how long the one that has been behind longest has been so.",
    ({ overdue_seconds }) => Math.max(0, overdue_seconds ?? 0),
  );
  gauge(
    "perch_sequencing_lag_seconds",
    "For how long the oldest change that has no number in the log yet has been waiting.",
    ({ captured_seconds }) => captured_seconds ?? 0,
  );
  gauge(
    "perch_notify_queue_ratio",
    "How full the server's queue of notifications is: a listener that does not read fills it.",
    ({ notification_queue }) => notification_queue,
  );
  gauge(
    "perch_commit_wait_seconds",
    "For how long the commit that has waited longest for a synchronous standby has done so, of any node.",
    ({ commit_seconds }) => commit_seconds ?? 0,
  );

  async function read(): Promise<void> {
    try {
      const [row] = await db.query<Figures>("select * from perch.database_figures(max_count => $1)", [countedAtMost]);
      figures = row;
      readAt = Date.now();
    } catch (error) {
      figures = undefined;
      log.debug({ err: error }, "figures of the database could not be read");
    }
  }

  return {
    async refresh() {
      if (figures !== undefined && Date.now() - readAt < keepMs) return;
      reading ??= read().finally(() => {
        reading = undefined;
      });
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(() => {
          figures = undefined;
          resolve();
        }, patienceMs);
      });
      await Promise.race([reading, late]);
      clearTimeout(timer);
    },
  };
}
