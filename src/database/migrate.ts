import { backOff } from "../lib/back-off.js";
import { catalogDifferences, type Difference, ledgerDifferences } from "./catalog-differences.js";
import { applySql, dropDefinitions, foreignProperty } from "./definitions.js";
import { isLockTimeout, isUndoneForAnother } from "./errors.js";
import { applyOutside } from "./migrate-outside.js";
import { type Apply, applyFile, runMigrations } from "./migration-runner.js";
import { type MigrationFile, type MigrationSources, readMigrationSources } from "./migration-sources.js";
import { appliedMigrations, fileChanges, isLater } from "./migration-status.js";
import type { Database, Transaction } from "./types.js";

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
 * do so at once: they queue, and all but the first find nothing to do. All in one transaction: a failure leaves the database as it was. (But for
 * migrations that are applied outside one, see migrate-outside.ts: what comes before such a one is committed first, the rest behind it.)
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
  const { outside } = db;
  let total: MigrateResult = { migrations: [], changedFiles: [], mended: [], differences: [] };
  for (let attempt = 1; ; attempt++) {
    try {
      for (;;) {
        const { next, ...done } = await db.transaction((tx) =>
          migrateOnce(tx, sources, options, outside !== undefined),
        );
        total = {
          migrations: [...total.migrations, ...done.migrations],
          changedFiles: done.changedFiles,
          mended: [...total.mended, ...done.mended],
          differences: done.differences,
        };
        if (next === undefined || outside === undefined) return total;
        options.onWait?.(
          `migrations/${next.name}.sql is applied outside a transaction, and waits for those that are open now`,
        );
        await applyOutside({ ...db, outside }, next, { lock: migrationLock, patienceMs: until - Date.now() });
        total.migrations.push(next.name);
      }
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
  hasOutside: boolean,
): Promise<Step> {
  // Each statement must see what the holder of the lock before us committed, whatever the server's default is.
  await tx.query("set transaction isolation level read committed");
  const [server] = await tx.query<{ deadlock_ms: number }>(
    "select setting::int as deadlock_ms from pg_settings where name = 'deadlock_timeout'",
  );
  const budgetMs = Math.min(lockBudgetMs, (server?.deadlock_ms ?? 1_000) / 2);
  await tx.query("select set_config('lock_timeout', $1, true)", [String(Math.ceil(budgetMs))]);
  // What these two put right is right behind them, so it is looked for before.
  const strays = await foreignProperty(tx);
  const ofLedger = await ledgerDifferences(tx, sources);
  await applyFile(tx, "sql/bootstrap.sql", sources.bootstrap);
  await tx.script(migrationSettings);
  for (const statement of statementsFor(ofLedger)) await applyFile(tx, statement, statement);
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
  const done = await up(tx, apply, sources, hasOutside);
  const left = new Set(done.differences.map(({ detail }) => detail));
  const before = [...strays, ...ofLedger.map(({ detail }) => detail)].filter((detail) => !left.has(detail));
  return { ...done, mended: [...new Set([...before, ...done.mended])] };
}

/** In: for how long to wait for a lock while others may be waiting for one of ours, and while not. Out: whether they may. */
const patienceSql = `
select h.holding, set_config('lock_timeout', (case when h.holding then $1::int else $2::int end)::text, true)
  from (select exists (
          select from pg_locks l join pg_class c on c.oid = l.relation
           where l.pid = pg_backend_pid() and l.mode = 'AccessExclusiveLock' and c.relnamespace = 'perch'::regnamespace
             and c.relname not in ('migrations', 'applied_sql', 'applied_release')) as holding) h`;

/** What one transaction did; `next`: the migration that it ended before, since that is to be applied outside one. */
interface Step extends MigrateResult {
  next?: MigrationFile;
}

async function up(tx: Transaction, apply: Apply, sources: MigrationSources, hasOutside: boolean): Promise<Step> {
  await refuseNewer(tx, sources);
  const applied = new Set((await appliedMigrations(tx)).map(({ name }) => name));
  const pending = sources.migrations.filter(({ name }) => !applied.has(name));
  const at = hasOutside ? pending.findIndex(({ outside }) => outside) : -1;
  const next = pending[at];
  const count = next === undefined ? pending.length : at;
  const migrations = count === 0 ? [] : await runMigrations(tx, apply, sources, { direction: "up", count });
  if (next !== undefined) return { migrations, changedFiles: [], mended: [], differences: [], next };
  const { changed, lost } = await fileChanges(tx, sources.files);
  const applying = migrations.length > 0 || changed.length > 0 || (lost.length > 0 && sources.catalog === undefined);
  if (applying) await applySql(tx, apply, sources, new Set([...changed, ...lost]));
  const done = { migrations, changedFiles: applying ? [...changed, ...lost] : [] };
  // What was dropped, revoked, disabled or lost in a restore changes no file: the catalog itself is compared.
  const found = await catalogDifferences(tx, sources);
  if (!found.some(({ mended }) => mended)) return { ...done, mended: [], differences: found };
  await mend(tx, apply, sources, found);
  const differences = await catalogDifferences(tx, sources);
  const left = new Set(differences.map(({ detail }) => detail));
  const mended = found.map(({ detail }) => detail).filter((detail) => !left.has(detail));
  return { ...done, mended, differences };
}

const statementsFor = (broken: readonly Difference[]) =>
  broken.flatMap(({ statements, mended }) => (mended ? statements : []));

/** Puts right what can be: some of it by a statement of its own, the rest because sql/ makes everything that it names anew. */
async function mend(
  tx: Transaction,
  apply: Apply,
  sources: MigrationSources,
  broken: readonly Difference[],
): Promise<void> {
  for (const statement of statementsFor(broken)) await apply(statement, statement);
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
