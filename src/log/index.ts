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
  type WantedFields,
} from "./calls.js";
export { type FollowEvent, type Following, type FollowOptions, follow } from "./follow.js";
export {
  type FollowLogEvent,
  type FollowLogOptions,
  followLog,
  type ReadLogOptions,
  type ReadLogSnapshotOptions,
  readLog,
  readLogSnapshot,
} from "./reader.js";
export type {
  Call,
  Change,
  Cursor,
  Fields,
  LogAnswer,
  LoggedChange,
  LogSnapshotAnswer,
  LostSpace,
  PullAnswer,
  PulledChange,
  PushResult,
  SnapshotAnswer,
  SnapshotRecord,
} from "./schemas.js";
