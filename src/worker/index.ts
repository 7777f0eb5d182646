export type { WorkerLog } from "./log.js";
export { defaultWorkerSettings, type WorkerSettings } from "./settings.js";
export { startWorker, type Worker, type WorkerOptions, type WorkerStats } from "./worker.js";
