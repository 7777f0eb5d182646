/**
 * `perch/tanstack`: collections of TanStack DB on perch. Stands on `perch/client`; peers: `@tanstack/db`, and for the outbox
 * `@tanstack/offline-transactions`.
 * @module
 */

export type { SetAside } from "./aside.js";
export * from "./collection.js";
export { type KeepOptions, keepRows } from "./kept.js";
export * from "./outbox.js";
export type { RowMutation, RowSpec } from "./rows.js";
export type { AppSync } from "./sync.js";
export * from "./writes.js";
