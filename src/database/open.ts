import { connect as connectTo } from "node:net";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { FolderInUseError } from "./folder-lock.js";
import { migrate } from "./migrate.js";
import { openPglite, type PgliteDatabase } from "./pglite.js";
import { socketPath, socketUrl } from "./pglite-socket.js";
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

async function openEmbedded(
  dataDir: string | undefined,
  { onError, serves, ...options }: OpenOptions,
): Promise<PgliteDatabase> {
  const db = await openPglite({ dataDir, onError, serves });
  try {
    if (options.migrate !== false) await migrate(db);
    return db;
  } catch (error) {
    await db.close();
    throw error;
  }
}

/** How long a process that has the folder may take until it lets others in: it migrates first. */
const servesWithinMs = 60_000;

/** The embedded database in a folder, opened here; or the URL of the process that has it and lets others in. */
export async function openOrReach(dataDir: string, options: OpenOptions = {}): Promise<PgliteDatabase | string> {
  const folder = resolve(dataDir);
  for (const deadline = Date.now() + servesWithinMs; ; await sleep(100)) {
    try {
      return await openEmbedded(folder, options);
    } catch (error) {
      if (!(error instanceof FolderInUseError && error.serves) || options.share === false) throw error;
      if (await answers(socketPath(folder))) return socketUrl(folder);
      if (Date.now() > deadline) throw error;
    }
  }
}

async function openFolder(dataDir: string, options: OpenOptions): Promise<Database> {
  const opened = await openOrReach(dataDir, options);
  return typeof opened === "string" ? openPostgres({ ...options, url: opened }) : opened;
}

/** Whether anybody listens there: a socket may have been left behind by a process that was killed. */
function answers(path: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connectTo(path);
    const say = (answer: boolean) => {
      socket.destroy();
      done(answer);
    };
    socket.once("connect", () => say(true)).once("error", () => say(false));
  });
}
