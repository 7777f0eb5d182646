import { isConflict } from "../errors.js";
import type { Queryable, Transaction } from "../types.js";
import type { MovedTable } from "./tables.js";

/** A row's key, each column as text. */
export type Key = readonly string[];

/** A row as text that any Postgres reads: what record_out writes loses nothing under the settings of `settled`. */
export interface Row {
  readonly key: Key;
  readonly text: string;
}

/** How values are written as text, and that a key is looked up by its index, whatever the table's statistics say, or fail to. */
export const settled =
  "set local search_path = pg_catalog; set local timezone = 'UTC'; set local datestyle = 'ISO'; set local intervalstyle = 'postgres'; " +
  "set local bytea_output = 'hex'; set local extra_float_digits = 1; set local enable_hashjoin = off; " +
  "set local enable_mergejoin = off; set local enable_seqscan = off; set local jit = off";

/** Columns in the target's order, as it reads them; what it works out by itself is left out. */
const rowText = ({ columns, generated }: MovedTable) =>
  `row(${columns.map((column) => (generated.includes(column) ? "null" : `t.${column}`)).join(", ")})::text`;
const keyText = ({ key }: MovedTable) => `array[${key.map((column) => `t.${column}::text`).join(", ")}]`;
/** That a row has the key `k`, a list of texts. */
const isKey = ({ key, key_types, key_operators }: MovedTable) =>
  key.map((column, n) => `t.${column} ${key_operators[n]?.["="]} (k ->> ${n})::${key_types[n]}`).join(" and ");
const byKeys = (table: MovedTable) =>
  `from jsonb_array_elements($1::jsonb) k join ${table.relation} t on ${isKey(table)}`;

/**
 * That a row comes behind the key that is given as parameters. A comparison of rows has one name for the operators of all columns; where
 * an extension brought one of them it is written out, the first column by itself before it, for the index.
 */
function isBehind({ key, key_types, key_operators }: MovedTable): string {
  const columns = key.map((column, n) => ({
    name: `t.${column}`,
    value: `$${n + 1}::text::${key_types[n]}`,
    is: key_operators[n] ?? { "=": "=", ">=": ">=", ">": ">" },
  }));
  const [first] = columns;
  if (columns.every(({ is }) => is[">"] === ">"))
    return `(${columns.map(({ name }) => name).join(", ")}) > (${columns.map(({ value }) => value).join(", ")})`;
  const behind = columns.reduceRight(
    (rest, { name, value, is }) =>
      rest === ""
        ? `${name} ${is[">"]} ${value}`
        : `(${name} ${is[">"]} ${value} or (${name} ${is["="]} ${value} and ${rest}))`,
    "",
  );
  return `${first?.name} ${first?.is[">="]} ${first?.value} and ${behind}`;
}

/** How much a page takes at most: rows, and bytes, as they are stored and of what is read of them as text; one row is always taken. */
const pageRows = 2_000;
const pageBytes = 2_000_000;

/**
 * The rows behind a key that make a page, in the order of the primary key; of each its key and what else is asked for. Sizes are asked
 * for first, since of what is stored apart they are known without reading it.
 */
function behind<Found>(on: Queryable, table: MovedTable, what: string, after: Key | null): Promise<Found[]> {
  const { relation, key, columns } = table;
  const names = key.map((column) => `t.${column}`).join(", ");
  const from = after === null ? "" : `where ${isBehind(table)}`;
  const size = columns.map((column) => `coalesce(pg_column_size(t.${column}), 0)`).join(" + ");
  return on.query<Found>(
    `select ${keyText(table)} as key, ${what}
       from (select t.*, row_number() over perch_page as perch_nth, sum(${size}) over perch_page as perch_bytes
               from (select t.* from ${relation} t ${from} order by ${names} limit ${pageRows}) t
             window perch_page as (order by ${names} rows unbounded preceding)) t
      where t.perch_nth = 1 or t.perch_bytes <= ${pageBytes}
      order by t.perch_nth`,
    after ?? [],
  );
}

/**
 * A page of keys, in parts whose rows are read at once. In: columns as the target has them. What a row is as text may be hundreds of times what
 * is stored (a number with many noughts, JSON that was compressed), and more than the driver can hold: so it is measured first.
 */
export async function pageOf(on: Queryable, table: MovedTable, after: Key | null): Promise<Key[][]> {
  return inParts(await behind<Measured>(on, table, `octet_length(${rowText(table)}) as bytes`, after));
}

interface Measured {
  readonly key: Key;
  readonly bytes: number;
}

function inParts(rows: readonly Measured[]): Key[][] {
  const parts: Key[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const row of rows) {
    if (bytes + row.bytes > pageBytes) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)?.push(row.key);
    bytes += row.bytes;
  }
  return parts;
}

/** The digests of a page. */
export const digestsBehind = (on: Queryable, table: MovedTable, after: Key | null) =>
  behind<{ key: Key; digest: string }>(on, table, `md5(${rowText(table)}) as digest`, after);

/** Parts keys so that the rows of each part are read at once. In: of a database, any number of keys. */
export async function parted(on: Queryable, table: MovedTable, keys: readonly Key[]): Promise<Key[][]> {
  const parts: Key[][] = [];
  for (let at = 0; at < keys.length; at += pageRows) {
    const some = keys.slice(at, at + pageRows);
    const found = await on.query<Measured>(
      `select ${keyText(table)} as key, octet_length(${rowText(table)}) as bytes ${byKeys(table)}`,
      [JSON.stringify(some)],
    );
    const sizes = new Map(found.map((row) => [nameOf(row.key), row.bytes]));
    parts.push(...inParts(some.map((key) => ({ key, bytes: sizes.get(nameOf(key)) ?? 0 }))));
  }
  return parts;
}

/** Those of these rows that are there, each once, also where several keys name it: a citext says the same in small letters. */
export async function rowsOf(on: Queryable, table: MovedTable, keys: readonly Key[]): Promise<Row[]> {
  const rows = await on.query<Row>(`select ${keyText(table)} as key, ${rowText(table)} as text ${byKeys(table)}`, [
    JSON.stringify(keys),
  ]);
  return [...new Map(rows.map((row) => [nameOf(row.key), row])).values()];
}

/** The digest of each of these rows that is there, by `nameOf` its key. */
export async function digestsOf(on: Queryable, table: MovedTable, keys: readonly Key[]): Promise<Map<string, string>> {
  const rows = await on.query<{ key: Key; digest: string }>(
    `select ${keyText(table)} as key, md5(${rowText(table)}) as digest ${byKeys(table)}`,
    [JSON.stringify(keys)],
  );
  return new Map(rows.map(({ key, digest }) => [nameOf(key), digest]));
}

export const nameOf = (key: Key): string => JSON.stringify(key);

/** How many rows each of these has; `atMost`: no more is counted. */
export async function countsOf(
  on: Queryable,
  tables: readonly MovedTable[],
  atMost?: number,
): Promise<Map<string, number>> {
  const of = (relation: string) => (atMost === undefined ? relation : `(select from ${relation} limit ${atMost})`);
  const rows = await on.query<{ nth: number; count: number }>(
    tables
      .map(({ relation }, nth) => `select ${nth} as nth, count(*) as count from ${of(relation)} t`)
      .join(" union all "),
  );
  return new Map(rows.map(({ nth, count }) => [tables[nth]?.relation ?? "", count]));
}

async function remove(tx: Queryable, table: MovedTable, keys: readonly Key[]): Promise<void> {
  await tx.query(`delete from ${table.relation} t using jsonb_array_elements($1::jsonb) k where ${isKey(table)}`, [
    JSON.stringify(keys),
  ]);
}

async function insert(
  tx: Queryable,
  { relation, columns, generated }: MovedTable,
  rows: readonly Row[],
): Promise<void> {
  const written = columns.filter((column) => !generated.includes(column));
  await tx.query(
    `insert into ${relation} (${written.join(", ")}) overriding system value
     select ${written.map((column) => `r.${column}`).join(", ")} from unnest($1::${relation}[]) r`,
    [rows.map(({ text }) => text)],
  );
}

/**
 * Makes these keys on the target what the rows say: a key without a row is not there. While the source is in use, what was read of it at
 * several moments may break a rule of uniqueness that holds at each of them. Out: the keys that are left out for that reason.
 */
export async function put(
  tx: Transaction,
  table: MovedTable,
  keys: readonly Key[],
  rows: readonly Row[],
): Promise<Key[]> {
  await remove(tx, table, keys);
  if (rows.length === 0) return [];
  await tx.query("savepoint page");
  try {
    await insert(tx, table, rows);
    return [];
  } catch (error) {
    if (!isConflict(error)) throw error;
    await tx.query("rollback to savepoint page");
  }
  const leftOut: Key[] = [];
  for (const row of rows) {
    await tx.query("savepoint one");
    try {
      await insert(tx, table, [row]);
      await tx.query("release savepoint one");
    } catch (error) {
      if (!isConflict(error)) throw error;
      await tx.query("rollback to savepoint one");
      leftOut.push(row.key);
    }
  }
  return leftOut;
}

/**
 * The same for any number of keys of one moment, in parts: nothing is left out. All keys go before any row comes, since rows may have exchanged
 * values. In: what reads the rows of a part.
 */
export async function putAll(
  tx: Transaction,
  table: MovedTable,
  parts: readonly (readonly Key[])[],
  rowsOf: (keys: readonly Key[]) => Promise<Row[]>,
) {
  for (const keys of parts) await remove(tx, table, keys);
  for (const keys of parts) {
    const rows = await rowsOf(keys);
    if (rows.length > 0) await insert(tx, table, rows);
  }
}
