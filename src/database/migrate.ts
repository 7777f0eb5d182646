import type { RunnerOption } from "node-pg-migrate";
import { runner } from "node-pg-migrate";
import { catalogDifferences, type Difference } from "./catalog-differences.js";
import { type MigrationSources, readMigrationSources, type SqlFile } from "./migration-sources.js";
import type { Database, Queryable, Transaction } from "./types.js";

export interface MigrateOptions {
  /** "up" (the default) applies all that is missing; "down" takes back the newest migrations, one unless `count` says more. */
  direction?: "up" | "down";
  count?: number;
  /** A folder with `migrations/` and `sql/`, instead of the package's own. */
  root?: string;
}

export interface MigrateResult {
  /** Names of the migrations applied or taken back, in that order. */
  migrations: string[];
  /** Paths of the files of sql/ that were new or other than before; when there is any, all were applied again. */
  changedFiles: string[];
  /** What the database had otherwise than this version makes it, and has rightly now. */
  mended: string[];
  /** What is otherwise and was left so, each with what to do. */
  differences: Difference[];
}

export interface MigrationStatus {
  applied: string[];
  pending: string[];
  /** In the database but unknown to this version of perch: the database is newer. */
  unknown: string[];
  changedFiles: string[];
}

/** Any number that no other program takes a lock on; it also stands in the script of `perch migrate sql`. */
export const migrationLock = 7_367_203_118_401n;

/** What every step runs under; names are written out in full, so an empty path catches one that is not. */
export const migrationSettings = `
set local role perch_owner;
set local search_path = pg_catalog;
set local check_function_bodies = off;
`;

/**
 * Brings a database up to this version of perch, or takes its newest migrations back. Any number of processes may do so at once:
 * they queue, and all but the first find nothing to do. All in one transaction: a failure leaves the database as it was.
 *
 * The login needs CREATEROLE and CREATE on the database, or membership in perch_owner where a DBA made roles and schema.
 * Throws when the database is newer than this version, and when a file fails (naming it and the line).
 */
export async function migrate(db: Database, options: MigrateOptions = {}): Promise<MigrateResult> {
  const sources = await readMigrationSources(options.root);
  return db.transaction(async (tx) => {
    // Each statement must see what the holder of the lock before us committed, whatever the server's default is.
    await tx.query("set transaction isolation level read committed");
    await tx.query("select pg_advisory_xact_lock($1)", [migrationLock]);
    const strays = await foreignProperty(tx);
    await applyFile(tx, "sql/bootstrap.sql", sources.bootstrap);
    await tx.script(migrationSettings);
    await applyFile(tx, "sql/ledger.sql", sources.ledger);
    if (options.direction === "down") return down(tx, sources, options.count ?? 1);
    const done = await up(tx, sources);
    return { ...done, mended: [...strays, ...done.mended] };
  });
}

/** What of the schema belongs to somebody else than perch_owner, to whom sql/bootstrap.sql gives it back. */
async function foreignProperty(tx: Transaction): Promise<string[]> {
  const rows = await tx.query<{ detail: string }>(
    `select format('%s belonged to %s', each.item, pg_get_userbyid(each.owner)) as detail
       from (select 'table ' || c.relname as item, c.relowner as owner, c.relnamespace as schema
               from pg_class c where c.relkind in ('r', 'p', 'v')
             union all
             select 'function ' || p.proname, p.proowner, p.pronamespace from pg_proc p) each
      where each.schema = to_regnamespace('perch') and each.owner <> to_regrole('perch_owner')
      order by 1`,
  );
  return rows.map(({ detail }) => detail);
}

/** What a database has and what it lacks. Needs the rights of perch_worker, or to be a member of perch_owner. */
export async function migrationStatus(db: Database, options: { root?: string } = {}): Promise<MigrationStatus> {
  const sources = await readMigrationSources(options.root);
  const [ledger] = await db.query<{ found: boolean }>("select to_regclass('perch.migrations') is not null as found");
  if (!ledger?.found) {
    return {
      applied: [],
      pending: sources.migrations.map(({ name }) => name),
      unknown: [],
      changedFiles: sources.files.map(({ path }) => path),
    };
  }
  const applied = await appliedMigrations(db);
  const known = new Set(sources.migrations.map(({ name }) => name));
  return {
    applied,
    pending: [...known].filter((name) => !applied.includes(name)),
    unknown: applied.filter((name) => !known.has(name)),
    changedFiles: await changedFiles(db, sources.files),
  };
}

async function appliedMigrations(db: Queryable): Promise<string[]> {
  const rows = await db.query<{ name: string }>("select name from perch.migrations order by run_on, id");
  return rows.map(({ name }) => name);
}

/** Paths that are new, have another text, or are in the database only. */
async function changedFiles(db: Queryable, files: readonly SqlFile[]): Promise<string[]> {
  const rows = await db.query<{ path: string; hash: string }>("select path, hash from perch.applied_sql order by path");
  const hashes = new Map(rows.map(({ path, hash }) => [path, hash]));
  const changed = files.filter(({ path, hash }) => hashes.get(path) !== hash).map(({ path }) => path);
  const kept = new Set(files.map(({ path }) => path));
  return [...changed, ...[...hashes.keys()].filter((path) => !kept.has(path))];
}

async function up(tx: Transaction, sources: MigrationSources): Promise<MigrateResult> {
  await refuseNewer(tx, sources);
  const migrations = await runMigrations(tx, sources, { direction: "up" });
  const changed = await changedFiles(tx, sources.files);
  if (migrations.length > 0 || changed.length > 0) await applySql(tx, sources.files);
  // What was dropped, revoked, disabled or lost in a restore changes no file: the catalog itself is compared.
  const found = await catalogDifferences(tx, sources);
  if (!found.some(({ mended }) => mended)) return { migrations, changedFiles: changed, mended: [], differences: found };
  await mend(tx, sources, found);
  const differences = await catalogDifferences(tx, sources);
  const left = new Set(differences.map(({ detail }) => detail));
  const mended = found.map(({ detail }) => detail).filter((detail) => !left.has(detail));
  return { migrations, changedFiles: changed, mended, differences };
}

/** Puts right what can be: some of it by a statement of its own, the rest because sql/ makes everything that it names anew. */
async function mend(tx: Transaction, sources: MigrationSources, broken: readonly Difference[]): Promise<void> {
  for (const { statements, mended } of broken) {
    if (mended) for (const statement of statements) await applyFile(tx, statement, statement);
  }
  await applySql(tx, sources.files);
}

async function down(tx: Transaction, sources: MigrationSources, count: number): Promise<MigrateResult> {
  await refuseNewer(tx, sources);
  // What sql/ defines stands on the tables that are about to go; an older version of perch brings its own.
  await applyFile(tx, "dropping what sql/ defines", dropDefinitions);
  await tx.query("delete from perch.applied_sql");
  const migrations = await runMigrations(tx, sources, { direction: "down", count });
  return { migrations, changedFiles: [], mended: [], differences: [] };
}

async function refuseNewer(tx: Transaction, sources: MigrationSources): Promise<void> {
  const known = new Set(sources.migrations.map(({ name }) => name));
  const unknown = (await appliedMigrations(tx)).filter((name) => !known.has(name));
  if (unknown.length > 0) {
    throw new Error(
      `the database is newer than this version of perch: it has had ${unknown.join(", ")}, unknown here; upgrade perch`,
    );
  }
}

/**
 * A function that changes its arguments or its result, or that goes, is dropped by a migration: files only create or replace.
 */
async function applySql(tx: Transaction, files: readonly SqlFile[]): Promise<void> {
  for (const { path, text } of files) await applyFile(tx, path, text);
  await tx.query("delete from perch.applied_sql");
  await tx.query("insert into perch.applied_sql (path, hash) select * from unnest($1::text[], $2::text[])", [
    files.map(({ path }) => path),
    files.map(({ hash }) => hash),
  ]);
}

async function applyFile(tx: Transaction, name: string, text: string): Promise<void> {
  try {
    await tx.script(text);
  } catch (error) {
    throw located(name, text, error);
  }
}

/** The error with the file and the line it points at. */
function located(name: string, text: string, error: unknown): Error {
  const { message, position, hint } = error as { message: string; position?: string | number; hint?: string };
  const line = position === undefined ? "" : ` line ${text.slice(0, Number(position)).split("\n").length}`;
  return new Error(`${name}${line}: ${message}${hint ? ` (${hint})` : ""}`, { cause: error });
}

async function runMigrations(
  tx: Transaction,
  sources: MigrationSources,
  move: Pick<RunnerOption, "direction"> & { count?: number },
): Promise<string[]> {
  let current = "migrations";
  const silent = () => undefined;
  const done = await runner({
    ...move,
    dbClient: clientOf(tx, () => current) as never,
    dir: sources.migrationsDir,
    migrationsTable: "migrations",
    migrationsSchema: "perch",
    checkOrder: true,
    singleTransaction: true,
    // The lock is ours, held since before the roles were made.
    noLock: true,
    logger: {
      debug: silent,
      info: (message: string) => {
        const started = /^### MIGRATION (.*) \(/.exec(message);
        if (started?.[1]) current = `migrations/${started[1]}.sql`;
      },
      warn: silent,
      error: silent,
    },
  });
  return done.map(({ name }) => name);
}

/** A transaction of ours as the client node-pg-migrate wants; beginning and ending it stays with us. */
function clientOf(tx: Transaction, current: () => string) {
  return {
    async query(sql: string, params?: unknown[]) {
      if (/^(BEGIN|COMMIT|ROLLBACK);?$/.test(sql)) return { rows: [] };
      // Its own questions about the ledger; a migration is never a lone SELECT.
      if (sql.startsWith("SELECT ")) return { rows: await tx.query(sql, params) };
      await applyFile(tx, current(), sql);
      return { rows: [] };
    },
  };
}

const dropDefinitions = `
do $drop$
declare
  found record;
begin
  for found in
    select format('drop trigger %I on %s', t.tgname, t.tgrelid::regclass) as statement
      from pg_trigger t join pg_class c on c.oid = t.tgrelid
     where c.relnamespace = 'perch'::regnamespace and not t.tgisinternal
    union all
    select format('drop policy %I on perch.%I', p.policyname, p.tablename)
      from pg_policies p
     where p.schemaname = 'perch' and p.tablename not in ('migrations', 'applied_sql')
  loop
    execute found.statement;
  end loop;
  -- One statement for each kind: among themselves they may stand on each other. First the routines that return a view's rows,
  -- then the views, which may call others.
  for found in
    select 'drop routine ' || string_agg(p.oid::regprocedure::text, ', ') as statement
      from pg_proc p join pg_class c on c.reltype = p.prorettype and c.relkind = 'v'
     where p.pronamespace = 'perch'::regnamespace
    having count(*) > 0
  loop
    execute found.statement;
  end loop;
  for found in
    select 'drop view ' || string_agg(c.oid::regclass::text, ', ') as statement
      from pg_class c where c.relnamespace = 'perch'::regnamespace and c.relkind = 'v'
    having count(*) > 0
  loop
    execute found.statement;
  end loop;
  for found in
    select 'drop routine ' || string_agg(p.oid::regprocedure::text, ', ') as statement
      from pg_proc p where p.pronamespace = 'perch'::regnamespace
    having count(*) > 0
  loop
    execute found.statement;
  end loop;
end
$drop$;
`;
