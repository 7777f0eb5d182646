export * from "./backup/index.js";
export {
  type PullOptions,
  type PushOptions,
  pull,
  push,
  type SchemaVersions,
  type SnapshotOptions,
  snapshotRecords,
} from "./calls.js";
export { type FollowEvent, type Following, type FollowOptions, follow } from "./follow.js";
export type {
  Change,
  Cursor,
  LostSpace,
  PullAnswer,
  PulledChange,
  PushResult,
  SnapshotAnswer,
  SnapshotRecord,
} from "./schemas.js";
