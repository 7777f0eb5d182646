/**
 * `perch/client`: the client for browsers and Node. It stands on nothing else of perch.
 * @module
 */
export * from "./client.js";
export { positionIn } from "./cursor.js";
export { PerchError } from "./errors.js";
export { ExactNumber, exactJson, type Json } from "./exact-json.js";
export { createReplica, type FoldedRecord, foldChange, isLive, type Replica, recordKey } from "./fold.js";
export type { Following, FollowOptions } from "./follow.js";
export { newId } from "./ids.js";
export { compareJsonb } from "./jsonb-order.js";
export { type FollowLogEvent, type FollowLogOptions, followLog, type LoggedChange } from "./reader.js";
export type { Spaces } from "./spaces.js";
export { type DeviceStorage, memoryStorage } from "./storage.js";
export type { TokenSource } from "./transport.js";
export type * from "./types.js";
