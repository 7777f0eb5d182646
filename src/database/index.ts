export {
  type MigrateOptions,
  type MigrateResult,
  type MigrationStatus,
  migrate,
  migrationStatus,
} from "./migrate.js";
export { openDatabase } from "./open.js";
export type { DatabaseOptions } from "./options.js";
export type { Database, ListenHandlers, Queryable, Subscription, Transaction } from "./types.js";
