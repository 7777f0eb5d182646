export { type MigrateOptions, type MigrateResult, migrate } from "./migrate.js";
export { type MigrationStatus, migrationStatus } from "./migration-status.js";
export { openDatabase } from "./open.js";
export type { DatabaseOptions } from "./options.js";
export type { Database, ListenHandlers, Queryable, Subscription, Transaction } from "./types.js";
