import type { DatabaseOptions, OpenOptions } from "./options.js";
import { openPostgres } from "./postgres.js";
import type { Database } from "./types.js";

/** The URL given, or DATABASE_URL, or the embedded database. An empty variable is one whose value got lost, and no wish to begin anew. */
export function databaseUrl(given?: string): string {
  const url = given ?? process.env.DATABASE_URL ?? "pglite:.perch";
  if (url === "") throw new Error("DATABASE_URL is empty; give it a value or unset it");
  return url;
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
  if (url === "memory:") return (await embedded()).openEmbedded(undefined, options);
  if (url.startsWith("pglite:")) return openFolder(url.slice("pglite:".length) || ".perch", options);
  // The URL itself stays out of the message: it may hold a password.
  throw new Error("unknown kind of database URL: expected postgres://…, pglite:FOLDER or memory:");
}

/** PGlite is loaded by those who use it. */
const embedded = () => import("./embedded.js");

async function openFolder(dataDir: string, options: OpenOptions): Promise<Database> {
  const opened = await (await embedded()).openOrReach(dataDir, options);
  if (typeof opened !== "string") return opened;
  // What answers there is PGlite, whose clients take turns.
  return { ...openPostgres({ ...options, url: opened }), kind: "pglite" };
}
