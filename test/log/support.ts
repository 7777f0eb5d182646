import type { Queryable } from "../../src/database/types.js";

export interface Change {
  op?: unknown;
  table?: unknown;
  id?: unknown;
  [key: string]: unknown;
}

export interface Result {
  op_id: string | null;
  status: "applied" | "replayed" | "rejected";
  space_id: string | null;
  seq: number | null;
  txid?: string;
  result?: unknown;
  error?: { code: string; message: string; detail: Record<string, unknown> };
}

export interface Entry {
  space_id: string;
  seq: number;
  op: "insert" | "update" | "delete";
  table: string;
  id: string;
  data: Record<string, unknown> | null;
  field_meta: Record<string, string>;
  at: string;
  deleted_at: string | null;
  client_id: string | null;
  op_id: string | null;
  user_id: string;
  txid: string | null;
  schema_version: number;
  actor: unknown;
  origin: string | null;
  created_at: string;
  withheld?: { reason: string; bytes?: number; max?: number };
}

export interface Page {
  changes: Entry[];
  cursor: Cursor;
  has_more: boolean;
  revoked_space_ids: string[];
  unfinished?: { space_id: string; txid: string };
  withheld?: { too_large: number; upgrade_failed: number };
}

export type Cursor = Record<string, unknown> & { spaces?: Record<string, [seq: number, mark: string | null]> };

export const insert = (id: string, data: Record<string, unknown> = {}, more: Change = {}): Change => ({
  op: "insert",
  table: "tasks",
  id,
  data,
  ...more,
});
export const update = (id: string, data: Record<string, unknown> = {}, more: Change = {}): Change => ({
  ...insert(id, data, more),
  op: "update",
});
export const remove = (id: string, more: Change = {}): Change => ({ op: "delete", table: "tasks", id, ...more });

export async function push(
  tx: Queryable,
  changes: unknown,
  clientId: string | null = "laptop",
  appId = "todo",
): Promise<Result[]> {
  const [row] = await tx.query<{ answer: { results: Result[] } }>(
    "select perch.push(app_id => $1, changes => $2::jsonb, client_id => $3) as answer",
    [appId, JSON.stringify(changes), clientId],
  );
  return row?.answer.results ?? [];
}

export interface PullOptions {
  cursor?: Cursor;
  pageSize?: number;
  tables?: string[] | null;
  exclude?: string | null;
  versions?: Record<string, number> | null;
  appId?: string;
}

export async function pull(tx: Queryable, options: PullOptions = {}): Promise<Page> {
  const [row] = await tx.query<{ page: Page }>(
    `select perch.pull(app_id => $1, cursor => $2::jsonb, page_size => $3, tables => $4, exclude_client_id => $5,
       schema_versions => $6::jsonb) as page`,
    [
      options.appId ?? "todo",
      JSON.stringify(options.cursor ?? {}),
      options.pageSize ?? 1000,
      options.tables ?? null,
      options.exclude ?? null,
      options.versions === undefined || options.versions === null ? null : JSON.stringify(options.versions),
    ],
  );
  if (row === undefined) throw new Error("pull returned nothing");
  return row.page;
}

/** Pulls until there is no more; returns everything and the last cursor. */
export async function pullAll(tx: Queryable, options: PullOptions = {}): Promise<Page> {
  const all: Page = { changes: [], cursor: options.cursor ?? {}, has_more: true, revoked_space_ids: [] };
  while (all.has_more) {
    const page = await pull(tx, { ...options, cursor: all.cursor });
    all.changes.push(...page.changes);
    all.revoked_space_ids.push(...page.revoked_space_ids);
    all.cursor = page.cursor;
    all.has_more = page.has_more;
  }
  return all;
}

export interface Snapshot {
  records: {
    table: string;
    id: string;
    data: Record<string, unknown> | null;
    field_meta: Record<string, string>;
    withheld?: { reason: string; bytes?: number; max?: number };
    seq: number;
    inserted_at: string | null;
    deleted_at: string | null;
    schema_version: number;
  }[];
  cursor: Cursor;
  next: string | null;
}

export async function snapshot(
  tx: Queryable,
  options: {
    space?: string | null;
    after?: string | null;
    pageSize?: number;
    cursor?: Cursor;
    versions?: Record<string, number>;
  } = {},
): Promise<Snapshot> {
  const [row] = await tx.query<{ page: Snapshot }>(
    `select perch.snapshot_records(app_id => 'todo', space_id => $1, after => $2, page_size => $3, cursor => $4::jsonb,
       schema_versions => $5::jsonb) as page`,
    [
      options.space ?? null,
      options.after ?? null,
      options.pageSize ?? 1000,
      JSON.stringify(options.cursor ?? {}),
      options.versions === undefined ? null : JSON.stringify(options.versions),
    ],
  );
  if (row === undefined) throw new Error("snapshot_records returned nothing");
  return row.page;
}

/** The live records that the user sees, by "space/table/id". */
export async function records(tx: Queryable, appId = "todo"): Promise<Record<string, unknown>> {
  const rows = await tx.query<{ key: string; data: unknown }>(
    "select space_id || '/' || table_name || '/' || record_id as key, data from perch.records where app_id = $1",
    [appId],
  );
  return Object.fromEntries(rows.map((row) => [row.key, row.data]));
}

export const codes = (results: Result[]) => results.map((result) => result.error?.code ?? result.status);
