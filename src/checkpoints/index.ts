export { type Lease, type LeaseOptions, type ThreadLeases, threadLeases } from "./leases.js";
export { type LoadEventsOptions, type ThreadEvent, type ThreadLog, type ThreadLogOptions, threadLog } from "./log.js";
export { type StateVersions, type StateVersionsChain, stateVersions } from "./state-versions.js";
export {
  type Checkpoint,
  CheckpointStore,
  type CheckpointStoreOptions,
  type CheckpointWriteOptions,
  type FencingOptions,
  type ForkOptions,
  type HistoryOptions,
  type PruneOptions,
  type PutOptions,
} from "./store.js";
