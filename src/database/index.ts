export { type DatabaseOptions, openDatabase } from "./open.js";
export type { Database, ListenHandlers, Queryable, Subscription, Transaction } from "./types.js";
