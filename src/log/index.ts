export * from "./backup/index.js";
export {
  type ContentOptions,
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
  Call,
  Change,
  Cursor,
  Fields,
  LostSpace,
  PullAnswer,
  PulledChange,
  PushResult,
  SnapshotAnswer,
  SnapshotRecord,
} from "./schemas.js";
