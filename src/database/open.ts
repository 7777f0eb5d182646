import { openEmbedded, openOrReach } from "./embedded.js";
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
  /** How long a statement on Postgres may take; the server ends it, and otherwise its connection counts as lost. Unlimited when not given. */
  queryTimeoutMs?: number;
  /** How long a transaction on Postgres may ask nothing before the server ends it; as the login has it when not given. */
  idleTransactionMs?: number;
  /** A message of Postgres over so many bytes ends its connection, with an error; 256 MiB when not given, 500 MiB at most. */
  maxMessageBytes?: number;
  /** What pg_stat_activity shows; "perch" when not given. */
  applicationName?: string;
  /** A folder for the embedded database (PGlite), instead of `url`. */
  dataDir?: string;
  /**
   * Whether an embedded database is brought up to date when it is opened; true when not given. A server never is: there a DBA decides,
   * with `perch migrate up` or `migrate(db)`.
   */
  migrate?: boolean;
  /**
   * Whether an embedded database that a running `perch start` has open is reached through that process; true when not given. When false
   * it is refused.
   */
  share?: boolean;
  /** Told of errors nobody waits for; a process warning when not given. */
  onError?: (error: Error) => void;
}

/** The URL given, or DATABASE_URL, or the embedded database. An empty variable is one whose value got lost, and no wish to begin anew. */
export function databaseUrl(given?: string): string {
  const url = given ?? process.env.DATABASE_URL ?? "pglite:.perch";
  if (url === "") throw new Error("DATABASE_URL is empty; give it a value or unset it");
  return url;
}

/** What only perch's own commands say. */
export interface OpenOptions extends DatabaseOptions {
  /** This process will let others into the embedded database. */
  serves?: boolean;
}

/**
 * Opens a database: Postgres for a `postgres://` URL, otherwise the embedded PGlite, which it makes, brings up to date, or, while a
 * `perch start` has it open, reaches through that one's socket.
 * In: a URL, or options, or nothing (DATABASE_URL, else the embedded database in `./.perch`).
 * Throws when the URL is of no known kind, or when the folder is in use by a process that lets nobody in.
 */
export async function openDatabase(urlOrOptions: string | DatabaseOptions = {}): Promise<Database> {
  const options: OpenOptions = typeof urlOrOptions === "string" ? { url: urlOrOptions } : urlOrOptions;
  if (options.dataDir !== undefined) return openFolder(options.dataDir, options);

  const url = databaseUrl(options.url);
  if (/^postgres(ql)?:\/\//.test(url)) return openPostgres({ ...options, url });
  if (url === "memory:") return openEmbedded(undefined, options);
  if (url.startsWith("pglite:")) return openFolder(url.slice("pglite:".length) || ".perch", options);
  // The URL itself stays out of the message: it may hold a password.
  throw new Error("unknown kind of database URL: expected postgres://…, pglite:FOLDER or memory:");
}

async function openFolder(dataDir: string, options: OpenOptions): Promise<Database> {
  const opened = await openOrReach(dataDir, options);
  if (typeof opened !== "string") return opened;
  // What answers there is PGlite, whose clients take turns.
  return { ...openPostgres({ ...options, url: opened }), kind: "pglite" };
}
