import type { RunnerOption } from "node-pg-migrate";
import { runner } from "node-pg-migrate";
import { backOff } from "../lib/back-off.js";
import { catalogDifferences, type Difference } from "./catalog-differences.js";
import { isLockTimeout, isUndoneForAnother } from "./errors.js";
import { type MigrationSources, readMigrationSources, type SqlFile } from "./migration-sources.js";
import type { Database, Queryable, Transaction } from "./types.js";

export interface MigrateOptions {
  /** "up" (the default) applies all that is missing; "down" takes back the newest migrations, one unless `count` says more. */
  direction?: "up" | "down";
  count?: number;
  /** A folder with `migrations/` and `sql/`, instead of the package's own. */
  root?: string;
  /** For how long it tries again while others hold what it has to lock; 10 minutes unless set. */
  patienceMs?: number;
  /** Told, for people, why an attempt was given up, and when the next one is made. */
  onWait?(message: string): void;
}

export interface MigrateResult {
  /** Names of the migrations applied or taken back, in that order. */
  migrations: string[];
  /** Paths of the files of sql/ that were new or other than before, or that the database had no longer: these were applied. */
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
  /** Whether a later version of perch has migrated the database. */
  newer: boolean;
  /** Those of `unknown` that are marked as breaking: processes of this version cannot run on this database. */
  breaking: string[];
}

/** Whether processes of this version can run on such a database: it is as they know it, or newer by what breaks nothing for them. */
export function canServe({ pending, changedFiles, newer, breaking }: MigrationStatus): boolean {
  return pending.length === 0 && (newer ? breaking.length === 0 : changedFiles.length === 0);
}

/** What every step runs under; names are written out in full, so an empty path catches one that is not. */
export const migrationSettings = `
set local role perch_owner;
set local search_path = pg_catalog;
set local check_function_bodies = off;
`;

/**
 * One migration at a time. A table that only perch_owner may lock so, since keys of advisory locks are anybody's to take; those who
 * read the ledger are not held up.
 */
export const migrationLock = "lock table perch.migrations in share row exclusive mode;\n";

/**
 * For how long an attempt waits for locks, all together. Behind one that waits everybody waits, readers too. And it has to be over before
 * Postgres looks for deadlocks, so that it is the migration that gives way, and not the traffic that it meets.
 */
const lockBudgetMs = 500;
const leastLockMs = 50;
const longestPauseMs = 5_000;

/**
 * Brings a database up to this version of perch, or takes its newest migrations back, while others use it. Any number of processes may
 * do so at once: they queue, and all but the first find nothing to do. All in one transaction: a failure leaves the database as it was.
 *
 * What has not changed is not touched. What has to be locked is waited for half a second at most; then the attempt is given up, with
 * everything it had locked, and made again a little later.
 *
 * The login needs CREATEROLE and CREATE on the database, or membership in perch's roles where a DBA made roles and schema.
 * Throws when the database is newer than this version, when a file fails (naming it and the line), and when others held what it
 * needs for `patienceMs`.
 */
export async function migrate(db: Database, options: MigrateOptions = {}): Promise<MigrateResult> {
  const sources = await readMigrationSources(options.root);
  const until = Date.now() + (options.patienceMs ?? 600_000);
  for (let attempt = 1; ; attempt++) {
    try {
      return await db.transaction((tx) => migrateOnce(tx, sources, options));
    } catch (error) {
      const pause = backOff(attempt, 100, longestPauseMs) * (0.5 + Math.random());
      if (!isContended(error)) throw error;
      const why = `${(error as Error).message}${await holders(db)}`;
      if (Date.now() + pause > until) throw new Error(`${why}; given up`, { cause: error });
      options.onWait?.(`${why}; trying again in ${(pause / 1_000).toFixed(1)} s`);
      await new Promise((done) => setTimeout(done, pause));
    }
  }
}

/** Lock timeout, deadlock, serialization failure; a row of the catalog that somebody else wrote at the same moment. */
function isContended(error: unknown): boolean {
  const { code, message, cause } = error as { code?: string; message?: string; cause?: unknown };
  if (isLockTimeout(error) || isUndoneForAnother(error)) return true;
  if (code === "XX000" && /tuple concurrently (updated|deleted)/.test(message ?? "")) return true;
  return cause !== undefined && cause !== null && isContended(cause);
}

const holdersSql = `
select a.pid::text || coalesce(' (' || nullif(a.application_name, '') || ')', '') || ' has ' || string_agg(distinct l.relation::regclass::text, ', ') as holder
  from pg_locks l
  join pg_class c on c.oid = l.relation and c.relnamespace = to_regnamespace('perch') and c.relkind in ('r', 'p', 'v')
  join pg_stat_activity a on a.pid = l.pid
 where l.database = (select oid from pg_database where datname = current_database())
   and l.granted and a.xact_start < clock_timestamp() - interval '1 second'
 group by a.pid, a.application_name, a.xact_start
 order by a.xact_start
 limit 3`;

/** Who has had a table of perch locked for a while, for people. */
async function holders(db: Database): Promise<string> {
  const rows = await db.query<{ holder: string }>(holdersSql);
  return rows.length === 0 ? "" : `; ${rows.map(({ holder }) => `session ${holder}`).join("; ")}`;
}

async function migrateOnce(
  tx: Transaction,
  sources: MigrationSources,
  options: MigrateOptions,
): Promise<MigrateResult> {
  // Each statement must see what the holder of the lock before us committed, whatever the server's default is.
  await tx.query("set transaction isolation level read committed");
  const [server] = await tx.query<{ deadlock_ms: number }>(
    "select setting::int as deadlock_ms from pg_settings where name = 'deadlock_timeout'",
  );
  const budgetMs = Math.min(lockBudgetMs, (server?.deadlock_ms ?? 1_000) / 2);
  await tx.query("select set_config('lock_timeout', $1, true)", [String(Math.ceil(budgetMs))]);
  const strays = await foreignProperty(tx);
  await applyFile(tx, "sql/bootstrap.sql", sources.bootstrap);
  await tx.script(migrationSettings);
  await applyFile(tx, "sql/ledger.sql", sources.ledger);
  await applyFile(tx, "another migration is at work", migrationLock);
  let began = Date.now();
  const apply: Apply = async (name, text) => {
    const left = Math.max(leastLockMs, budgetMs - (Date.now() - began));
    const [row] = await tx.query<{ holding: boolean }>(patienceSql, [Math.ceil(left), Math.ceil(budgetMs)]);
    // Nobody waits for us yet.
    if (!row?.holding) began = Date.now();
    await applyFile(tx, name, text);
  };
  if (options.direction === "down") return down(tx, apply, sources, options.count ?? 1);
  const done = await up(tx, apply, sources);
  return { ...done, mended: [...strays, ...done.mended] };
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

/** In: for how long to wait for a lock while others may be waiting for one of ours, and while not. Out: whether they may. */
const patienceSql = `
select h.holding, set_config('lock_timeout', (case when h.holding then $1::int else $2::int end)::text, true)
  from (select exists (
          select from pg_locks l join pg_class c on c.oid = l.relation
           where l.pid = pg_backend_pid() and l.mode = 'AccessExclusiveLock' and c.relnamespace = 'perch'::regnamespace
             and c.relname not in ('migrations', 'applied_sql', 'applied_release')) as holding) h`;

/** Runs a script, and says where it failed. */
type Apply = (name: string, text: string) => Promise<void>;

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
      newer: false,
      breaking: [],
    };
  }
  const ledgerRows = await appliedMigrations(db);
  const applied = ledgerRows.map(({ name }) => name);
  const known = new Set(sources.migrations.map(({ name }) => name));
  const unknown = ledgerRows.filter(({ name }) => !known.has(name));
  return {
    applied,
    pending: [...known].filter((name) => !applied.includes(name)),
    unknown: unknown.map(({ name }) => name),
    changedFiles: await changedFiles(db, sources.files),
    newer: unknown.length > 0 || (await isLater(db, sources)),
    breaking: unknown.filter(({ breaking }) => breaking).map(({ name }) => name),
  };
}

/** In: as `migrate` takes them down. Out: what would go, for people: the migrations, their tables, and about how many rows are in them. */
export async function whatDownDrops(db: Database, options: { root?: string; count?: number } = {}): Promise<string[]> {
  const sources = await readMigrationSources(options.root);
  const names = (await appliedMigrations(db)).map(({ name }) => name).slice(-(options.count ?? 1));
  const lines: string[] = [];
  for (const name of names.reverse()) {
    const text = sources.migrations.find((migration) => migration.name === name)?.down ?? "";
    const tables = Array.from(text.matchAll(/^drop table (?:if exists )?perch\.(\w+)/gm), ([, table = ""]) => table);
    const rows = await db.query<{ line: string }>(
      `select t.name || ' (' || case when c.reltuples < 0 then 'not counted yet' else 'about ' || c.reltuples || ' rows' end || ')' as line
         from unnest($1::text[]) with ordinality t (name, place)
         join pg_class c on c.relname = t.name and c.relnamespace = 'perch'::regnamespace order by t.place`,
      [tables],
    );
    lines.push(
      `takes back ${name}${rows.length === 0 ? "" : `, and drops ${rows.map(({ line }) => line).join(", ")}`}`,
    );
  }
  return lines;
}

// Through JSON: a ledger of before the mark has no such column.
const appliedSql = `
select m.name, coalesce((to_jsonb(m) ->> 'breaking')::boolean, false) as breaking from perch.migrations m order by m.run_on, m.id`;

async function appliedMigrations(db: Queryable): Promise<{ name: string; breaking: boolean }[]> {
  return db.query(appliedSql);
}

/** Whether sql/ was applied by a later version of perch. */
async function isLater(db: Queryable, { version }: MigrationSources): Promise<boolean> {
  const [there] = await db.query<{ found: boolean }>(
    "select to_regclass('perch.applied_release') is not null as found",
  );
  if (!there?.found) return false;
  const [row] = await db.query<{ version: string }>("select version from perch.applied_release");
  return row !== undefined && compareVersions(row.version, version) > 0;
}

function compareVersions(left: string, right: string): number {
  const parts = (version: string) => version.split(/[.+-]/, 3).map((part) => Number.parseInt(part, 10) || 0);
  const others = parts(right);
  return parts(left).reduce((found, part, nth) => found || part - (others[nth] ?? 0), 0);
}

/** Paths that are new, have another text, or are in the database only; also those of which something is gone. */
async function changedFiles(db: Queryable, files: readonly SqlFile[]): Promise<string[]> {
  const rows = await db.query<{ path: string; hash: string }>("select path, hash from perch.applied_sql order by path");
  const hashes = new Map(rows.map(({ path, hash }) => [path, hash]));
  const there = new Set(
    (
      await db.query<{ name: string }>(
        `select p.proname::text as name from pg_proc p where p.pronamespace = 'perch'::regnamespace
          union select c.relname::text from pg_class c where c.relnamespace = 'perch'::regnamespace and c.relkind = 'v'`,
      )
    ).map(({ name }) => name),
  );
  const changed = files
    .filter(({ path, hash, makes }) => hashes.get(path) !== hash || makes.some((name) => !there.has(name)))
    .map(({ path }) => path);
  const kept = new Set(files.map(({ path }) => path));
  return [...changed, ...[...hashes.keys()].filter((path) => !kept.has(path))];
}

async function up(tx: Transaction, apply: Apply, sources: MigrationSources): Promise<MigrateResult> {
  await refuseNewer(tx, sources);
  const migrations = await runMigrations(tx, apply, sources, { direction: "up" });
  const changed = await changedFiles(tx, sources.files);
  if (migrations.length > 0 || changed.length > 0) await applySql(tx, apply, sources, new Set(changed));
  // What was dropped, revoked, disabled or lost in a restore changes no file: the catalog itself is compared.
  const found = await catalogDifferences(tx, sources);
  if (!found.some(({ mended }) => mended)) return { migrations, changedFiles: changed, mended: [], differences: found };
  await mend(tx, apply, sources, found);
  const differences = await catalogDifferences(tx, sources);
  const left = new Set(differences.map(({ detail }) => detail));
  const mended = found.map(({ detail }) => detail).filter((detail) => !left.has(detail));
  return { migrations, changedFiles: changed, mended, differences };
}

/** Puts right what can be: some of it by a statement of its own, the rest because sql/ makes everything that it names anew. */
async function mend(
  tx: Transaction,
  apply: Apply,
  sources: MigrationSources,
  broken: readonly Difference[],
): Promise<void> {
  for (const { statements, mended } of broken) {
    if (mended) for (const statement of statements) await apply(statement, statement);
  }
  await applySql(tx, apply, sources, new Set(sources.files.map(({ path }) => path)));
}

async function down(tx: Transaction, apply: Apply, sources: MigrationSources, count: number): Promise<MigrateResult> {
  await refuseNewer(tx, sources);
  // What sql/ defines stands on the tables that are about to go; an older version of perch brings its own.
  await apply("dropping what sql/ defines", dropDefinitions);
  await tx.query("delete from perch.applied_sql");
  await tx.query("delete from perch.applied_release");
  const migrations = await runMigrations(tx, apply, sources, { direction: "down", count });
  return { migrations, changedFiles: [], mended: [], differences: [] };
}

async function refuseNewer(tx: Transaction, sources: MigrationSources): Promise<void> {
  const known = new Set(sources.migrations.map(({ name }) => name));
  const unknown = (await appliedMigrations(tx)).map(({ name }) => name).filter((name) => !known.has(name));
  if (unknown.length > 0) {
    throw new Error(
      `the database is newer than this version of perch: it has had ${unknown.join(", ")}, unknown here; upgrade perch`,
    );
  }
  if (await isLater(tx, sources))
    throw new Error("the database is newer than this version of perch: a later one has migrated it; upgrade perch");
}

/**
 * Functions and views whose file has changed. A function that changes its arguments or its result, or that goes, is dropped by a
 * migration: files only create or replace.
 */
async function applySql(
  tx: Transaction,
  apply: Apply,
  { files, version }: MigrationSources,
  changed: ReadonlySet<string>,
): Promise<void> {
  for (const { path, text, reconciles } of files) if (reconciles || changed.has(path)) await apply(path, text);
  await tx.query(
    `with gone as (delete from perch.applied_sql a where a.path <> all ($1::text[]))
     insert into perch.applied_sql as a (path, hash) select * from unnest($1::text[], $2::text[])
     on conflict (path) do update set hash = excluded.hash, applied_at = clock_timestamp() where a.hash <> excluded.hash`,
    [files.map(({ path }) => path), files.map(({ hash }) => hash)],
  );
  await tx.query(
    `insert into perch.applied_release as r (version) values ($1)
     on conflict (only_row) do update set version = excluded.version, applied_at = clock_timestamp()`,
    [version],
  );
}

async function applyFile(tx: Transaction, name: string, text: string): Promise<void> {
  try {
    await tx.script(text);
  } catch (error) {
    throw located(name, text, error);
  }
}

/** Postgres's hint for these is to drop what is an app's own. */
const dependentObjects = "2BP01";

/** The error with the file and the line it points at. */
function located(name: string, text: string, error: unknown): Error {
  const { message, position, detail, hint, code } = error as {
    message: string;
    position?: string | number;
    detail?: unknown;
    hint?: string;
    code?: string;
  };
  const line = position === undefined ? "" : ` line ${text.slice(0, Number(position)).split("\n").length}`;
  const advice = code === dependentObjects ? "drop those first, and make them again afterwards" : hint;
  const more = [typeof detail === "string" ? detail : undefined, advice].filter(Boolean).join("; ");
  return new Error(`${name}${line}: ${message}${more ? ` (${more})` : ""}`, { cause: error });
}

async function runMigrations(
  tx: Transaction,
  apply: Apply,
  sources: MigrationSources,
  move: Pick<RunnerOption, "direction"> & { count?: number },
): Promise<string[]> {
  let current = "migrations";
  const silent = () => undefined;
  const done = await runner({
    ...move,
    dbClient: clientOf(tx, (sql) => apply(current, sql)) as never,
    dir: sources.migrationsDir,
    migrationsTable: "migrations",
    migrationsSchema: "perch",
    // Numbers are given out before the files are written, so a database may have had a higher one first.
    checkOrder: false,
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
  const names = done.map(({ name }) => name);
  const breaking = sources.migrations.filter((file) => file.breaking && names.includes(file.name));
  if (move.direction === "up" && breaking.length > 0) {
    await tx.query("update perch.migrations set breaking = true where name = any ($1)", [
      breaking.map(({ name }) => name),
    ]);
  }
  return names;
}

/** A transaction of ours as the client node-pg-migrate wants; beginning and ending it stays with us. */
function clientOf(tx: Transaction, run: (sql: string) => Promise<void>) {
  return {
    async query(sql: string, params?: unknown[]) {
      if (/^(BEGIN|COMMIT|ROLLBACK);?$/.test(sql)) return { rows: [] };
      // Its own questions about the ledger; a migration is never a lone SELECT.
      if (sql.startsWith("SELECT ")) return { rows: await tx.query(sql, params) };
      await run(sql);
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
     where p.schemaname = 'perch' and p.tablename not in ('migrations', 'applied_sql', 'applied_release')
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
