export {
  type MigrateOptions,
  type MigrateResult,
  type MigrationStatus,
  migrate,
  migrationStatus,
} from "./migrate.js";
export { type DatabaseOptions, openDatabase } from "./open.js";
export type { Database, ListenHandlers, Queryable, Subscription, Transaction } from "./types.js";
