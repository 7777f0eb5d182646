import { z } from "zod";
import type { Queryable } from "../database/types.js";
import { type OrderItem, tablesIn } from "./filter.js";
import { readSnapshot, type Snapshot, snapshotEnd, snapshotText } from "./handle.js";
import { type MessageFrame, rowMessages } from "./row-messages.js";
import type { FilterNode } from "./tree.js";

/** Which rows and columns of a table. */
export interface ShapeQuery {
  readonly schema: string;
  readonly table: string;
  readonly filter: FilterNode | null;
  readonly columns: readonly string[] | null;
}

const openedSchema = z.object({
  app_id: z.string(),
  table: z.string(),
  spaces: z.array(z.string()),
  columns: z.record(z.string(), z.looseObject({ type: z.string(), pk_index: z.int().optional() })),
  /** Of the log: positions of another epoch mean other entries. */
  epoch: z.string(),
  definition: z.string(),
  /** What all who read any of the table's rows have alike; null of one with rules. */
  content: z.string().nullable(),
  snapshot: z.string(),
});

/** What a user may see of a table at this moment. */
export type OpenedShape = z.output<typeof openedSchema>;

/** In: a transaction on behalf of the user. Errors: PE401, PE404. */
export async function openShape(tx: Queryable, { schema, table }: Pick<ShapeQuery, "schema" | "table">) {
  const [row] = await tx.query<{ opened: unknown }>(
    "select perch.open_shape(schema_name => $1, table_name => $2) as opened",
    [schema, table],
  );
  return openedSchema.parse(row?.opened);
}

/** Digests of what decides what `openShape` says: users by id, and tables in the order in which they were named. */
export interface ShapeRights {
  readonly users: ReadonlyMap<string, string>;
  readonly tables: readonly string[];
  readonly moment: LogMoment;
}

const rightsSql = `
  select r.users, r.tables, r.position::text as position, r.epoch, r.snapshot::text as snapshot
    from perch.shape_rights(user_ids => $1::text[], schema_names => $2::text[], table_names => $3::text[]) r`;

/** In: a connection of perch_worker. */
export async function shapeRights(
  db: Queryable,
  userIds: readonly string[],
  tables: readonly Pick<ShapeQuery, "schema" | "table">[],
): Promise<ShapeRights> {
  const [row] = await db.query<{ users: string[]; tables: string[] } & MomentRow>(
    rightsSql,
    [userIds, ...namesOf(tables)],
    { prepare: true },
  );
  if (row === undefined) throw new Error("perch.shape_rights gave no row");
  return {
    users: new Map(userIds.map((userId, nth) => [userId, row.users[nth] as string])),
    tables: row.tables,
    moment: momentOf(row),
  };
}

/** As a parameter of type jsonb; null: SQL's. */
const json = (value: unknown) => (value === null ? null : JSON.stringify(value));

/**
 * Before the statement that reads rows of the table, and of those in sub-selects of filters: until the transaction ends nobody truncates them,
 * which would take the rows away under its snapshot. Errors: PE401, PE404.
 */
async function holdTables(
  tx: Queryable,
  { schema, table, filter }: ShapeQuery,
  another: FilterNode | null = null,
): Promise<void> {
  const names = namesOf([{ schema, table }, ...tablesIn(filter), ...tablesIn(another)]);
  await tx.query("select perch.hold_tables(schema_names => $1::text[], table_names => $2::text[])", names);
}

/** As two parameters: the schemas, and the names in them. */
function namesOf(tables: readonly Pick<ShapeQuery, "schema" | "table">[]): [string[], string[]] {
  return [tables.map((one) => one.schema), tables.map((one) => one.table)];
}

/** The table, and those in sub-selects, in the order in which whoever reads says their definitions. */
const tablesOf = ({ schema, table, filter }: ShapeQuery) => [{ schema, table }, ...tablesIn(filter)];

/** A chunk as Postgres gives it; `rowsBody` makes messages of it. */
export interface RowsPage {
  /** Of one row or of many, as `rowMessages` takes them. */
  readonly texts: readonly string[];
  readonly frame: MessageFrame;
  /** Where the next chunk goes on; null: there is none. */
  readonly lastKey: readonly string[] | null;
  /** Undefined when more transactions are open than can be told to the reader. */
  readonly snapshot: Snapshot | undefined;
  readonly definitions: Definitions;
}

/** By which rights and options it was read: what `openShape` says of the table and of those in sub-selects, which may be another since. */
export type Definitions = readonly string[];

const rowsSql = `
  select r.fields, r.last_key, r.snapshot::text as snapshot, r.frame,
         perch.shape_definitions(schema_names => $9::text[], table_names => $10::text[]) as definitions
    from perch.shape_rows(schema_name => $1, table_name => $2, filter => $3::jsonb, columns => $4::text[],
      after_key => $5::text[], since_position => $6::bigint, since_snapshot => $7::pg_snapshot, max_bytes => $8) r`;

interface RowsRow {
  fields: string;
  last_key: string[] | null;
  snapshot: string;
  frame: MessageFrame;
  definitions: string[];
}

/** A chunk of the first snapshot. In: behind which key; the moment that all chunks show, undefined: now. Errors: PE401, PE404, PE410, PE413, PE422. */
export async function readRows(
  tx: Queryable,
  query: ShapeQuery,
  from: { key: readonly string[] | null; since: bigint; snapshot: Snapshot | undefined; maxBytes: number },
): Promise<RowsPage> {
  await holdTables(tx, query);
  const { schema, table, filter, columns } = query;
  const snapshot = from.snapshot === undefined ? null : snapshotText(from.snapshot);
  const params = [
    ...[schema, table, json(filter), columns, from.key, from.since, snapshot, from.maxBytes],
    ...namesOf(tablesOf(query)),
  ];
  const rows = await tx.query<RowsRow>(rowsSql, params);
  const last = rows.at(-1);
  if (last === undefined) throw new Error("perch.shape_rows gave no row");
  const texts = rows.map(({ fields }) => fields).filter((text) => text !== "");
  const { frame, last_key: lastKey, definitions } = last;
  return { texts, frame, lastKey, snapshot: readSnapshot(last.snapshot), definitions };
}

/** The chunk as a list in JSON: its rows, and behind the last of all that the snapshot ends. Out: undefined where they are over so many bytes. */
export function rowsBody({ texts, frame, lastKey, snapshot }: RowsPage, maxBytes: number): Buffer | undefined {
  const ends = lastKey === null && snapshot !== undefined ? [snapshotEnd(snapshot)] : [];
  return rowMessages(texts, frame, ends, maxBytes);
}

export interface ChangesPage {
  /** Operations as JSON, and of each the transaction. */
  readonly messages: readonly string[];
  readonly txids: readonly bigint[];
  readonly lsn: bigint;
  readonly op: bigint;
  /** Whether that is the end of the log, as far as it was asked for. */
  readonly isEnd: boolean;
  readonly definitions: Definitions;
}

const changesSql = `
  select c.messages, c.txids, c.lsn::text as lsn, c.op::text as op, c.is_end,
         perch.shape_definitions(schema_names => $11::text[], table_names => $12::text[]) as definitions
    from perch.shape_changes(schema_name => $1, table_name => $2, filter => $3::jsonb, columns => $4::text[],
      after_lsn => $5::bigint, after_op => $6::bigint, upto => $7::bigint, whole => $8, max_bytes => $9,
      since_snapshot => $10::pg_snapshot) c`;

interface ChangesRow {
  messages: string[];
  txids: string[];
  lsn: string;
  op: string;
  is_end: boolean;
  definitions: string[];
}

/**
 * A page of what happened behind a position, up to another that the log has reached. `since`: for a filter with sub-selects what the reader's first
 * snapshot showed. Errors: PE401, PE404, PE410, PE413, PE422.
 */
export async function readChanges(
  tx: Queryable,
  query: ShapeQuery,
  from: { lsn: bigint; op: bigint; upto: bigint; whole: boolean; maxBytes: number; since: Snapshot | undefined },
): Promise<ChangesPage> {
  // Without sub-selects the log alone is read.
  if (tablesIn(query.filter).length > 0) await holdTables(tx, query);
  const { schema, table, filter, columns } = query;
  const since = from.since === undefined ? null : snapshotText(from.since);
  const [row] = await tx.query<ChangesRow>(changesSql, [
    ...[schema, table, json(filter), columns, from.lsn, from.op, from.upto, from.whole, from.maxBytes, since],
    ...namesOf(tablesOf(query)),
  ]);
  if (row === undefined) throw new Error("perch.shape_changes gave no row");
  const { messages, txids, lsn, op, is_end: isEnd, definitions } = row;
  return { messages, txids: txids.map(BigInt), lsn: BigInt(lsn), op: BigInt(op), isEnd, definitions };
}

/** Up to where, behind a position, a snapshot shows all that the log has; not further than so far, nor than is looked through at once. */
export async function shownUpto(db: Queryable, after: bigint, upto: bigint, snapshot: Snapshot): Promise<bigint> {
  const [row] = await db.query<{ position: string }>(
    "select perch.shown_upto(after_position => $1::bigint, upto => $2::bigint, snapshot => $3::pg_snapshot)::text as position",
    [after, upto, snapshotText(snapshot)],
  );
  if (row === undefined) throw new Error("perch.shown_upto gave no row");
  return BigInt(row.position);
}

/** Some rows of a shape. */
export interface Subset {
  readonly filter: FilterNode | null;
  readonly order: readonly OrderItem[] | null;
  readonly limit: number | null;
  readonly offset: number;
  /** Marks its rows. */
  readonly mark: number;
}

export interface SubsetRows {
  readonly messages: string;
  readonly snapshot: Snapshot | undefined;
  /** Changes that had no number yet. */
  readonly waiting: bigint;
}

const subsetSql = `
  select s.messages, s.snapshot::text as snapshot, s.waiting::text as waiting
    from perch.shape_subset(schema_name => $1, table_name => $2, filter => $3::jsonb, columns => $4::text[],
      subset => $5::jsonb, "order" => $6::jsonb, max_count => $7, skip => $8, mark => $9) s`;

/** Some rows of a shape as they are now. Errors: PE401, PE404, PE413, PE422. */
export async function readSubset(tx: Queryable, query: ShapeQuery, subset: Subset): Promise<SubsetRows> {
  await holdTables(tx, query, subset.filter);
  const { schema, table, filter, columns } = query;
  const { order, limit, offset, mark } = subset;
  const params = [schema, table, json(filter), columns, json(subset.filter), json(order), limit, offset, mark];
  const [row] = await tx.query<{ messages: string; snapshot: string; waiting: string }>(subsetSql, params);
  if (row === undefined) throw new Error("perch.shape_subset gave no row");
  return { messages: row.messages, snapshot: readSnapshot(row.snapshot), waiting: BigInt(row.waiting) };
}

/** How far the log has come, of all that is committed, and in which epoch. */
export interface LogMoment {
  readonly position: bigint;
  readonly epoch: string;
  /** In which that was seen; undefined with more open transactions than a handle holds. */
  readonly snapshot: Snapshot | undefined;
}

/** In: a connection of perch_worker. */
export async function logMoment(db: Queryable): Promise<LogMoment> {
  const [row] = await db.query<MomentRow>(
    "select perch.log_position()::text as position, perch.current_epoch() as epoch, pg_current_snapshot()::text as snapshot",
    [],
    { prepare: true },
  );
  if (row === undefined) throw new Error("the database did not say how far the log has come");
  return momentOf(row);
}

interface MomentRow {
  position: string;
  epoch: string;
  snapshot: string;
}

const momentOf = ({ position, epoch, snapshot }: MomentRow): LogMoment => ({
  position: BigInt(position),
  epoch,
  snapshot: readSnapshot(snapshot),
});

/**
 * Sees to it that no transaction gets a number that a snapshot taken before counts among those that are over. After a crash Postgres goes on behind
 * the last number that it finds in its log; one that was rolled back, and whose records were not on the disk yet, is given once more, and what then
 * comes under it would be taken for shown. A message in the log has a number behind all of them, and is on the disk when it is committed.
 */
export async function keepNumbers(db: Queryable): Promise<void> {
  await db.query("select pg_logical_emit_message(true, 'perch', '')", []);
}
