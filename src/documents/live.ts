export { createLiveDocuments, type LiveLimits, type LiveLog, type LiveOptions } from "./live/documents.js";
export type {
  Author,
  CommitNotice,
  CommittedUpdates,
  Ending,
  ExclusiveDocument,
  Joined,
  LiveDocument,
  LiveDocuments,
  LiveStats,
  Merged,
  MergeSession,
  UpdateListener,
} from "./live/types.js";
export type { Ends } from "./loro/api.js";
