import { openPglite } from "./pglite.js";
import { openPostgres } from "./postgres.js";
import type { Database } from "./types.js";

export interface DatabaseOptions {
  /** `postgres://…`, `pglite:FOLDER` or `memory:`. */
  url?: string;
  /** Where to LISTEN, when `url` goes through a transaction-pooling proxy. */
  listenUrl?: string;
  /**
   * Whether connections to Postgres keep perch's own statements prepared, which takes some 0.1 ms off each call. Only for a URL that leads
   * to Postgres itself or to a proxy that knows prepared statements; false when not given.
   */
  prepare?: boolean;
  /** Connections to Postgres at most; 10 when not given. */
  poolSize?: number;
  /** How long a statement on Postgres may take before its connection counts as lost; unlimited when not given. */
  queryTimeoutMs?: number;
  /** What pg_stat_activity shows; "perch" when not given. */
  applicationName?: string;
  /** A folder for the embedded database (PGlite), instead of `url`. */
  dataDir?: string;
  /** Told of errors nobody waits for; a process warning when not given. */
  onError?: (error: Error) => void;
}

/** The URL given, or DATABASE_URL, or the embedded database. An empty variable is one whose value got lost, and no wish to begin anew. */
export function databaseUrl(given?: string): string {
  const url = given ?? process.env.DATABASE_URL ?? "pglite:.perch";
  if (url === "") throw new Error("DATABASE_URL is empty; give it a value or unset it");
  return url;
}

/**
 * Opens a database: Postgres for a `postgres://` URL, otherwise the embedded PGlite.
 * In: a URL, or options, or nothing (DATABASE_URL, else the embedded database in `./.perch`).
 * Throws when the URL is of no known kind, or the folder is in use by another process.
 */
export async function openDatabase(urlOrOptions: string | DatabaseOptions = {}): Promise<Database> {
  const options = typeof urlOrOptions === "string" ? { url: urlOrOptions } : urlOrOptions;
  const { dataDir, onError } = options;
  if (dataDir !== undefined) return openPglite({ dataDir, onError });

  const url = databaseUrl(options.url);
  if (/^postgres(ql)?:\/\//.test(url)) return openPostgres({ ...options, url });
  if (url === "memory:") return openPglite({ onError });
  if (url.startsWith("pglite:")) return openPglite({ dataDir: url.slice("pglite:".length) || ".perch", onError });
  // The URL itself stays out of the message: it may hold a password.
  throw new Error("unknown kind of database URL: expected postgres://…, pglite:FOLDER or memory:");
}
