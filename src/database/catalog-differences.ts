import { type Catalog, parseCatalog, readCatalog, readTables } from "./catalog.js";
import type { MigrationSources } from "./migration-sources.js";
import type { Database, Queryable, Transaction } from "./types.js";

/** One way in which a database is not what this version of perch makes of it. */
export interface Difference {
  /** What it is about, "table documents" for example. */
  readonly item: string;
  readonly detail: string;
  /** Foreign things that harm nobody are a warning. */
  readonly level: "error" | "warning";
  /** Whether `perch migrate up` puts it right; applying sql/ does, after these statements (as perch_owner). */
  readonly mended: boolean;
  readonly statements: readonly string[];
  /** What to do. */
  readonly remedy: string;
}

type FoundDifference = Pick<Difference, "detail" | "remedy"> & Partial<Difference>;

const migrateUp = "perch migrate up";

/** Is there while services read the logs of all spaces; who reads as one looks whether it is (perch.require_reader). */
const whileRead: ReadonlySet<string> = new Set([
  "constraint note_commit TRIGGER DEFERRABLE INITIALLY DEFERRED",
  "CREATE CONSTRAINT TRIGGER note_commit AFTER INSERT OR UPDATE OF seq ON perch.space_heads DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION perch.note_commit()",
]);

/** Roles that perch grants to, and PUBLIC: what they may beyond what perch gives them is a hole; what others may is a DBA's affair. */
const ours = /^(public|perch_\w+)$/;

/**
 * Compares the catalog of a migrated database with what migrating makes: `docs/schema.txt`, which is made from a database that was migrated,
 * and, for the text of functions, sql/ itself. Names everything that is missing, other, or not perch's. Indexes that somebody added are
 * nobody's mistake, nor are storage parameters of tables, nor rights of roles that are not perch's.
 *
 * In: any login's database, or a transaction whose search_path is pg_catalog. Out: nothing when sources have no catalog to compare with.
 */
export async function catalogDifferences(
  db: Database | Transaction,
  sources: Pick<MigrationSources, "catalog" | "files" | "migrations">,
): Promise<Difference[]> {
  const { catalog } = sources;
  if (catalog === undefined) return [];
  if ("transaction" in db) {
    return db.transaction(async (tx) => {
      // How Postgres writes a definition depends on these.
      await tx.script("set local search_path = pg_catalog; set local quote_all_identifiers = off");
      return catalogDifferences(tx, sources);
    });
  }
  const expected = parseCatalog(catalog);
  const differences = compareCatalogs(expected, await readCatalog(db));
  return [...differences, ...(await otherTexts(db, sources, new Set(expected.keys())))];
}

const ledger = ["migrations", "applied_sql", "applied_release"];

/**
 * The same of the tables by which migrating knows what a database has, and of the schema: what has to be right before anything else can be.
 * In: the transaction in which it migrates. Out: nothing where there is no such table yet.
 */
export async function ledgerDifferences(
  tx: Transaction,
  { catalog }: Pick<MigrationSources, "catalog">,
): Promise<Difference[]> {
  const [row] = await tx.query<{ found: boolean }>("select to_regclass('perch.migrations') is not null as found");
  if (catalog === undefined || !row?.found) return [];
  await tx.script("set local search_path = pg_catalog; set local quote_all_identifiers = off");
  const items = new Set(["schema perch", ...ledger.map((name) => `table ${name}`)]);
  const expected = Array.from(parseCatalog(catalog)).filter(([item]) => items.has(item));
  return compareCatalogs(new Map(expected), await readTables(tx, ledger));
}

export function compareCatalogs(expected: Catalog, found: Catalog): Difference[] {
  const differences: Difference[] = [];
  for (const [item, lines] of expected) {
    const there = found.get(item);
    const named = (each: FoundDifference): Difference => ({
      item,
      level: "error",
      mended: false,
      statements: [],
      ...each,
    });
    if (there === undefined) differences.push(named(missing(item)));
    else differences.push(...compareLines(item, byKey(item, lines), byKey(item, there)).map(named));
  }
  for (const item of found.keys()) {
    if (!expected.has(item)) differences.push(foreign(item));
  }
  return differences;
}

function missing(item: string): FoundDifference {
  const detail = `${item} is missing`;
  return /^(table|sequence) /.test(item)
    ? { detail, remedy: "restore it from a backup: its migration has run, and does not run again" }
    : { detail, mended: true, remedy: migrateUp };
}

function foreign(item: string): Difference {
  const detail = `${item} is not perch's`;
  const remedy = "drop it, or move it to a schema of your own";
  return { item, detail, level: "warning", mended: false, statements: [], remedy };
}

/** The facts of an item, each under what it is about: "policy owner", "grants to perch_app". */
function byKey(item: string, lines: readonly string[]): Map<string, string> {
  const facts = new Map<string, string>();
  for (const line of lines) {
    const [, grantee] = /^grant (?!\().* to (\S+)$/.exec(line) ?? [];
    const [, name] = /^CREATE (?:CONSTRAINT )?TRIGGER (\S+)/.exec(line) ?? [];
    const [, index] = /^CREATE (?:UNIQUE )?INDEX (\S+)/.exec(line) ?? [];
    const [plain = ""] = /^policy (?:"(?:[^"]|"")+"|\S+)|^(column|constraint|default|grant) \S+|^\S+/.exec(line) ?? [];
    const [, executors] = /^execute (.*)$/.exec(line) ?? [];
    if (executors !== undefined) for (const each of executors.split(", ")) facts.set(`execute of ${each}`, each);
    else if (grantee !== undefined) facts.set(`grants to ${grantee}`, line);
    else if (name !== undefined) facts.set(`trigger ${name}`, line);
    else if (index !== undefined) facts.set(`index ${index}`, line);
    // Storage parameters of tables are a DBA's to choose.
    else facts.set(plain, item.startsWith("table ") ? line.replace(/ \{[^}]*\}/, "") : line);
  }
  return facts;
}

function compareLines(item: string, expected: Map<string, string>, found: Map<string, string>): FoundDifference[] {
  const differences: FoundDifference[] = [];
  for (const [key, line] of expected) {
    const other = found.get(key);
    if (other !== line) differences.push(lacking(item, key, line, other));
  }
  for (const [key, line] of found) {
    if (!expected.has(key) && !whileRead.has(line)) differences.push(...surplus(item, key, line));
  }
  return differences;
}

const relationOf = (item: string) => `perch.${item.slice(item.indexOf(" ") + 1)}`;

/** What perch makes and is not there, or is other than perch makes it. */
function lacking(item: string, key: string, line: string, other: string | undefined): FoundDifference {
  const detail = other === undefined ? `${item}: ${line} is missing` : `${item}: ${other}, where perch makes ${line}`;
  const [kind = "", name = ""] = key.split(" ");
  switch (kind) {
    case "column":
    case "sequence":
      return { detail, remedy: "restore it from a backup: its migration has run, and does not run again" };
    case "constraint": {
      const added = line.replace(/^constraint (\S+) (.*)$/, "add constraint $1 $2");
      const dropped = other === undefined ? "" : `drop constraint ${name}, `;
      return { detail, remedy: `alter table ${relationOf(item)} ${dropped}${added}` };
    }
    case "index": {
      const made = line.replace(/^CREATE (UNIQUE )?INDEX/, "create $1index concurrently").replace("UNIQUE", "unique");
      return { detail, remedy: `${other === undefined ? "" : `drop index perch.${name}, then `}${made}` };
    }
    case "owner":
      return ownerOrRowSecurity(item, detail, line, other ?? "");
    case "trigger":
      return other === `${line} disabled`
        ? mended(detail, `alter table ${relationOf(item)} enable trigger ${name}`)
        : mended(detail, ...(other === undefined ? [] : [`drop trigger ${name} on ${relationOf(item)}`]));
    case "policy":
      return mended(detail, ...(other === undefined ? [] : [`drop policy ${name} on ${relationOf(item)}`]));
    default:
      return mended(detail);
  }
}

function ownerOrRowSecurity(item: string, detail: string, line: string, other: string): FoundDifference {
  const ownerIn = (text: string) => /^owner (\S+)/.exec(text)?.[1];
  if (ownerIn(line) !== ownerIn(other))
    return { ...mended(detail), remedy: `${migrateUp}, as a superuser or as ${ownerIn(other)}` };
  if (!item.startsWith("table ")) return mended(detail);
  return mended(detail, `alter table ${relationOf(item)} enable row level security, force row level security`);
}

const mended = (detail: string, ...statements: string[]): FoundDifference => ({
  detail,
  mended: true,
  statements,
  remedy: migrateUp,
});

/** What is there and is not perch's. */
function surplus(item: string, key: string, line: string): FoundDifference[] {
  const [kind = "", , grantee = ""] = key.split(" ");
  const detail = `${item}: ${line} is not perch's`;
  switch (kind) {
    case "index":
      return [];
    case "policy":
      // Among others one that permits lets more in; one that restricts only keeps out, and may be what somebody's data rests on.
      if (/^policy \S+ restrictive /.test(line))
        return [{ detail, level: "warning", remedy: "drop it, unless it is meant to keep out whom perch lets in" }];
      return [mended(detail, `drop policy ${key.slice("policy ".length)} on ${relationOf(item)}`)];
    case "grants":
      return ours.test(grantee) ? [mended(detail)] : [];
    case "execute":
      return ours.test(grantee) ? [mended(`${item}: may be executed by ${line}, to whom perch does not grant it`)] : [];
    case "grant":
      return /(^| )(=|perch_)/.test(line.replace(/^grant \S+ /, "")) ? [mended(detail)] : [];
    case "default":
      return [{ detail, remedy: "alter default privileges for role perch_owner revoke …" }];
    case "trigger":
      // Of a database that is being moved, or was: perch doctor says so once.
      if (/^trigger perch_move_/.test(key)) return [];
      return [{ detail, level: "warning", remedy: "find out who made it, and drop it if nobody needs it" }];
    case "lacking": {
      const statement = `grant ${line.slice("lacking ".length)} to perch_owner`;
      return [mended(`${item}: its owner is ${line}`, statement)];
    }
    case "foreign":
      return [
        { detail: `${item}: ${line}`, remedy: `as a superuser: alter table ${relationOf(item)} enable trigger all` },
      ];
    default:
      return [{ detail, level: "warning", remedy: "find out who made it, and drop it if nobody needs it" }];
  }
}

/** Functions that say something else than sql/. The text of a function is stored as it was written. */
async function otherTexts(
  db: Queryable,
  { files, migrations }: Pick<MigrationSources, "files" | "migrations">,
  own: ReadonlySet<string>,
): Promise<Difference[]> {
  const functions = await db.query<{ name: string; item: string; text: string }>(
    `select p.proname as name, 'function ' || p.proname || '(' || pg_get_function_arguments(p.oid) || ')' as item, p.prosrc as text
       from pg_proc p
      where p.pronamespace = 'perch'::regnamespace and p.prosqlbody is null`,
  );
  const sources = sourcesByFunction([...files.map(({ text }) => text), ...migrations.map(({ up }) => up)]);
  return functions.flatMap(({ name, item, text }) => {
    if (!own.has(item)) return [];
    const quoted = text.replaceAll("'", "''");
    if (sources.get(name)?.some((source) => source.includes(text) || source.includes(quoted))) return [];
    const detail = `${item} has another text than perch gives it`;
    return [{ item, detail, level: "error" as const, mended: true, statements: [], remedy: migrateUp }];
  });
}

/** Where each function is written. */
function sourcesByFunction(sources: readonly string[]): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const source of sources) {
    const names = new Set(Array.from(source.matchAll(/function perch\.(\w+)\(/g), ([, name = ""]) => name));
    for (const name of names) found.set(name, [...(found.get(name) ?? []), source]);
  }
  return found;
}
