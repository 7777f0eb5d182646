export { defaultWorkerSettings, type WorkerSettings } from "./settings.js";
export { startWorker, type Worker, type WorkerLog, type WorkerOptions, type WorkerStats } from "./worker.js";
