import type { Standbys } from "../database/standbys.js";
import type { Metrics } from "../lib/metrics.js";

/** A standby, or primary, that is slow to answer must not keep the other figures from being shown. */
const patienceMs = 1_000;

/** Adds who answers what only reads, and how far standbys are behind; without standbys, that none did. Out: brings the latter up to date, in a second at most. */
export function addStandbyFigures(metrics: Metrics, standbys: Standbys | undefined): () => Promise<void> {
  let lags: Readonly<Record<string, number>> | undefined;
  metrics.total(
    "perch_standby_reads_total",
    "Reads that a standby of PERCH_READ_URLS has answered.",
    () => standbys?.stats().standby ?? 0,
  );
  metrics.total(
    "perch_standby_misses_total",
    "Those that the primary has answered instead, and why: a standby was behind or ahead of it, away, or had undone the read.",
    () => standbys?.stats().primary ?? {},
    "why",
  );
  metrics.gauge(
    "perch_standby_lag_bytes",
    "How much of the primary's log a standby has not replayed; it is left out while it does not answer.",
    () => lags,
    "standby",
  );
  return async () => {
    if (standbys === undefined) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), patienceMs);
    });
    lags = await Promise.race([standbys.lags().catch(() => undefined), late]);
    clearTimeout(timer);
  };
}
