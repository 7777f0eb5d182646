import { type MigrationSources, readMigrationSources, type SqlFile } from "./migration-sources.js";
import type { Database, Queryable } from "./types.js";

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

/** The migrations that a database has had, in their order. */
export async function appliedMigrations(db: Queryable): Promise<{ name: string; breaking: boolean }[]> {
  return db.query(appliedSql);
}

/** Whether sql/ was applied by a later version of perch. */
export async function isLater(db: Queryable, { version }: MigrationSources): Promise<boolean> {
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
export async function changedFiles(db: Queryable, files: readonly SqlFile[]): Promise<string[]> {
  const { changed, lost } = await fileChanges(db, files);
  return [...changed, ...lost];
}

/** `changed`: paths that are new, have another text, or are in the database only. `lost`: others of which something is gone. */
export async function fileChanges(
  db: Queryable,
  files: readonly SqlFile[],
): Promise<{ changed: string[]; lost: string[] }> {
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
  const isChanged = ({ path, hash }: SqlFile) => hashes.get(path) !== hash;
  const isLost = (file: SqlFile) => !isChanged(file) && file.makes.some((name) => !there.has(name));
  const pathsOf = (some: readonly SqlFile[]) => some.map(({ path }) => path);
  const kept = new Set(pathsOf(files));
  return {
    changed: [...pathsOf(files.filter(isChanged)), ...[...hashes.keys()].filter((path) => !kept.has(path))],
    lost: pathsOf(files.filter(isLost)),
  };
}
