export type {
  Author,
  CommitNotice,
  CommittedUpdates,
  HeldDocument,
  Joined,
  LiveDocument,
  LiveDocuments,
  LiveStats,
  MergeSession,
  UpdateListener,
} from "./live/types.js";
