import { accessSync, constants, existsSync } from "node:fs";
import { resolve } from "node:path";
import { troubleOf } from "../database/errors.js";
import { canServe, migrationStatus } from "../database/migration-status.js";
import { databaseUrl, openDatabase } from "../database/open.js";
import type { OpenOptions } from "../database/options.js";
import type { PgliteDatabase } from "../database/pglite.js";
import { PostgresUrlError, readPostgresUrl } from "../database/postgres-url.js";
import type { Database } from "../database/types.js";
import { UsageError } from "./command.js";

/** A database that answers, and how to name it to people. */
export interface Connected {
  db: Database;
  /** Without a password. */
  name: string;
  /** The folder of the embedded database. */
  folder: string | undefined;
}

export interface ConnectOptions extends OpenOptions {
  /** For commands that are of no use in an embedded database that would only be made for them. */
  existing?: boolean;
}

/**
 * Opens the database a command works on and waits for its first answer.
 * In: a URL, or nothing for DATABASE_URL, else the embedded database in `./.perch`. Throws with a message for people when the
 * database cannot be reached, or its folder is in use; UsageError for a URL that is none.
 */
export async function connect({ existing = false, ...options }: ConnectOptions): Promise<Connected> {
  const url = databaseUrl(options.url);
  const name = nameOf(url);
  if (options.listenUrl !== undefined) {
    if (!isPostgresUrl(url))
      throw new UsageError(
        `PERCH_LISTEN_URL is set, and the database is ${name}, which has no other URL to listen on; unset it, or name a server in DATABASE_URL`,
      );
    nameOf(options.listenUrl);
  }
  const folder = url.startsWith("pglite:") ? resolve(url.slice("pglite:".length) || ".perch") : undefined;
  if (folder !== undefined && !existsSync(folder)) {
    if (existing) throw noFolder(folder);
    process.stderr.write(`making the embedded database in ${folder}\n`);
  }
  // A command says itself what it does to the schema, and whether another process may have the folder meanwhile.
  const db = await openDatabase({ migrate: false, share: false, ...options, url });
  try {
    await db.query("select 1");
  } catch (error) {
    // A proxy that pools statements ends the connection in the midst of what was sent at once; one by one it says why.
    const reason = await db
      .transaction((tx) => tx.query("select 1"))
      .then(
        () => error,
        (second: unknown) => (poolsStatements(second) ? second : error),
      );
    await db.close().catch(() => undefined);
    throw cannotReach(name, reason);
  }
  return { db, name, folder };
}

/** Whether opening it made it, migrated: nothing in it needs to be looked at. */
export const isMadeMigrated = (db: Database): boolean => (db as Partial<PgliteDatabase>).isOfTemplate === true;

export const isPostgresUrl = (url: string) => /^postgres(ql)?:\/\//.test(url);

export const noFolder = (folder: string): Error =>
  new Error(
    `there is no embedded database in ${folder}; name one with --database-url or DATABASE_URL, or make one: perch start`,
  );

const poolsStatements = (error: unknown) => error instanceof Error && error.message.includes("statement pooling");

export const cannotReach = (name: string, error: unknown): Error => {
  const advice = poolsStatements(error)
    ? "; let the proxy pool transactions (pool_mode = transaction), or connect directly"
    : "";
  return new Error(`cannot reach the database ${name}: ${reasonOf(error)}${advice}`, { cause: error });
};

/** How to name a database to people. Throws UsageError for a URL that is none. */
export function nameOf(url: string): string {
  if (/^(pglite|memory):/.test(url)) return url;
  // The URL itself stays out of the messages: it may hold a password.
  if (!isPostgresUrl(url)) {
    throw new UsageError("unknown kind of database URL: expected postgres://…, pglite:FOLDER or memory:");
  }
  try {
    const read = readPostgresUrl(url);
    requireTls(new URLSearchParams(read.parts.query));
    return read.name;
  } catch (error) {
    throw error instanceof PostgresUrlError ? new UsageError(error.message) : error;
  }
}

/** Those that the driver knows; any other it takes for one that verifies. */
const sslModes = ["disable", "no-verify", "prefer", "require", "verify-ca", "verify-full"];

/** Throws UsageError for what the driver would stumble over at the first connection, or overlook. */
function requireTls(searchParams: URLSearchParams): void {
  const sslmode = searchParams.get("sslmode");
  if (sslmode !== null && !sslModes.includes(sslmode))
    throw new UsageError(`the database URL has an unknown sslmode: expected ${sslModes.join(", ")}`);
  for (const name of ["sslrootcert", "sslcert", "sslkey"]) {
    const file = searchParams.get(name);
    if (file === null) continue;
    try {
      accessSync(file, constants.R_OK);
    } catch {
      throw new UsageError(
        `the database URL names a file as ${name} that cannot be read: ${file}; it is a path on this machine, readable for the user who runs perch`,
      );
    }
  }
}

function reasonOf(error: unknown): string {
  // A host with several addresses fails with all of their errors.
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors[0]);
  return troubleOf(error) ?? String((error as { message?: unknown }).message ?? error);
}

/** Throws, naming what a DBA has to do, when the login may not do what these roles may: the worker's and the application's part. */
export async function requireRoles(db: Database, roles = ["perch_worker", "perch_app"]): Promise<void> {
  const rows = await db.query<{ login: string; role: string; exists: boolean; granted: boolean; member: boolean }>(
    `select session_user::text as login, wanted.role, r.oid is not null as exists,
            coalesce(pg_has_role(session_user, r.oid, 'USAGE'), false) as granted,
            coalesce(pg_has_role(session_user, r.oid, 'MEMBER'), false) as member
       from unnest($1::text[]) with ordinality wanted (role, place)
       left join pg_roles r on r.rolname = wanted.role
      order by wanted.place`,
    [roles],
  );
  const rolesThat = (test: (row: (typeof rows)[number]) => boolean) => rows.filter(test).map(({ role }) => role);
  const missing = rolesThat(({ granted, member }) => !granted && !member);
  const idle = rolesThat(({ granted, member }) => !granted && member);
  const login = rows[0]?.login ?? "";
  if (rows.some(({ exists }) => !exists)) {
    throw new Error("the database has no roles of perch: it was never migrated; run: perch migrate up");
  }
  if (missing.length === 0 && idle.length > 0) {
    const roles = idle.join(", ");
    throw new Error(
      `the login ${login} is a member of ${roles} without inheriting; a DBA can run: grant ${roles} to "${login}" with inherit true (before Postgres 16: alter role "${login}" inherit)`,
    );
  }
  if (missing.length > 0) {
    const roles = missing.join(", ");
    throw new Error(
      `the login ${login} lacks ${missing.length > 1 ? "the roles" : "the role"} ${roles}; a DBA can run: grant ${roles} to "${login}"`,
    );
  }
}

export const newerDatabase =
  "a later version of perch has migrated the database; this one runs on it, and should be upgraded";

/** Throws when this version of perch cannot run on what the database has. Out: whether a later version has migrated it. */
export async function requireMigrated(db: Database): Promise<boolean> {
  const status = await migrationStatus(db);
  if (canServe(status)) return status.newer;
  throw new Error(
    status.breaking.length > 0
      ? `the database is newer than this version of perch, which cannot run on it any more (it has had ${status.breaking.join(", ")}); upgrade perch`
      : "the database is not up to date with this version of perch; run: perch migrate up",
  );
}
