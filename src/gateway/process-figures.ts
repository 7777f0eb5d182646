import type { Shares } from "../database/shares.js";
import type { PoolStats } from "../database/types.js";
import type { LiveStats } from "../documents/live.js";
import type { EngineStats } from "../engine/engine.js";
import type { Ledger } from "../lib/ledger.js";
import type { Metrics } from "../lib/metrics.js";
import type { WorkerStats } from "../worker/index.js";

/** Adds what this node knows of its documents to the metrics. */
export function addDocumentFigures(metrics: Metrics, live: { stats(): LiveStats }): void {
  const stats = metrics.shared(() => live.stats());
  metrics.gauge("perch_documents", "Documents known on this node.", () => stats().documents);
  metrics.gauge("perch_documents_warm", "Of these, the ones held in an engine thread.", () => stats().warm);
  metrics.gauge("perch_document_readers", "Who is told of their edits, over all documents.", () => stats().readers);
  metrics.gauge("perch_appends_in_flight", "Batches neither committed nor refused yet.", () => stats().appending);
  metrics.gauge("perch_tail_updates", "Updates behind the snapshots of these documents.", () => stats().tailUpdates);
  metrics.gauge("perch_tail_bytes", "Bytes of these updates.", () => stats().tailBytes);
  metrics.gauge(
    "perch_longest_tail_updates",
    "The most updates behind one snapshot: grows without end when folding does not work.",
    () => stats().longestTail,
  );
  metrics.gauge(
    "perch_notify_lag_seconds",
    "How long the notification of a commit took to come back through the database, or is on its way by now.",
    () => seconds(stats().notifyLagMs),
  );
  metrics.total(
    "perch_broken_tails_total",
    "Documents whose stored updates did not hold together: opened at the last position that holds, the rest merged anew or set aside.",
    () => stats().brokenTails,
  );
}

/** Adds how the connections to the database are used. */
export function addPoolFigures(metrics: Metrics, db: { stats(): PoolStats }, shares: Shares): void {
  const stats = metrics.shared(() => db.stats());
  metrics.gauge("perch_pool_max_connections", "Connections to the database, at most.", () => stats().max);
  metrics.gauge("perch_pool_connections", "Connections to the database.", () => stats().open);
  metrics.gauge("perch_pool_idle_connections", "Of these, the ones that do nothing.", () => stats().idle);
  metrics.gauge(
    "perch_pool_waiting",
    "Queries and transactions that wait for one.",
    () => stats().waiting + shares.waiting(),
  );
  metrics.gauge(
    "perch_oldest_statement_seconds",
    "For how long the statement, or commit, that has been without an answer longest has been so.",
    () => seconds(stats().oldestMs),
  );
  metrics.gauge(
    "perch_held_names",
    "Spaces and documents that others hold locked and this process needs.",
    () => shares.contention.held,
  );
}

/** Adds what is held in memory for clients. */
export function addHeldFigures(metrics: Metrics, ledger: Pick<Ledger, "total" | "most">): void {
  metrics.gauge("perch_held_bytes", "Held for clients: unread, unsent and unanswered bytes, rooms.", ledger.total);
  metrics.gauge("perch_held_bytes_of_one_user", "Of these, those of the user with the most.", ledger.most);
}

/** Adds what the worker of this process has done. */
export function addWorkerFigures(metrics: Metrics, worker: { stats(): WorkerStats }): void {
  const stats = metrics.shared(() => worker.stats());
  metrics.total(
    "perch_merged_total",
    "Updates and patches of SQL callers that were looked after.",
    () => stats().merged,
  );
  metrics.total("perch_set_aside_total", "Of these, the ones set aside with an error.", () => stats().setAside);
  metrics.gauge("perch_documents_behind", "Documents edited here whose records are behind.", () => stats().behind);
}

const seconds = (ms: number | undefined) => (ms === undefined ? undefined : ms / 1_000);

/** Adds what the engine's threads are about to the metrics. */
export function addEngineFigures(metrics: Metrics, engine: { stats(): EngineStats }): void {
  metrics.gauge("perch_engine_threads", "Threads that decode documents.", () => engine.stats().threads);
  metrics.gauge("perch_engine_waiting_calls", "Calls that wait for a thread.", () => engine.stats().waiting);
  metrics.gauge(
    "perch_engine_memory_bytes",
    "What the threads hold outside the JavaScript heap.",
    () => engine.stats().memoryBytes,
  );
  metrics.total(
    "perch_engine_restarts_total",
    "Threads that were replaced: an update trapped or hung them, or their memory was full.",
    () => engine.stats().replaced,
  );
  metrics.gauge(
    "perch_engine_quarantined_documents",
    "Documents kept apart from the others, since an update of theirs cost a thread its life.",
    () => engine.stats().quarantined,
  );
}
