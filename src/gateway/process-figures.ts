import type { EngineStats } from "../engine/engine.js";
import type { Metrics } from "./metrics.js";

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
