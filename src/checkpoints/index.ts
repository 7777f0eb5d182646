export { type Lease, type LeaseOptions, type ThreadLeases, threadLeases } from "./leases.js";
export { type LoadOptions, type ThreadEvent, type ThreadLog, type ThreadLogOptions, threadLog } from "./log.js";
export {
  type Checkpoint,
  CheckpointStore,
  type CheckpointStoreOptions,
  type ForkOptions,
  type HistoryOptions,
  type PruneOptions,
  type PutOptions,
  type WriteOptions,
} from "./store.js";
export { type StateVersions, type StateVersionsChain, stateVersions } from "./versions.js";
