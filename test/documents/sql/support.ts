import type { Queryable } from "../../../src/database/types.js";
import type { TestDatabase } from "../../support/databases.js";

/** Bytes with the envelope of a Loro update; SQL looks no further. */
export const blob = (content: string): Uint8Array =>
  new Uint8Array(Buffer.concat([Buffer.from("loro"), Buffer.alloc(18), Buffer.from(content)]));

export const contentOf = (bytes: Uint8Array): string => Buffer.from(bytes.subarray(22)).toString();

export const declarePages = (t: Pick<TestDatabase, "db">) =>
  t.db.query("select perch.declare_table(app_id => 'notes', table_name => 'pages', fields => $1::jsonb)", [
    JSON.stringify({ title: "string", body: "text", stars: "integer", tags: "list" }),
  ]);

export interface Entry {
  space?: string;
  id: string;
  after: number;
  updates: { content: string; user: string; writable?: boolean | null }[];
}

export interface Appended {
  kind: "appended" | "missed";
  ordinal: number;
  seq: number | null;
  error: string | null;
  content: string | null;
}

/** perch.append_updates with entries as objects. */
export async function append(tx: Queryable, entries: Entry[]): Promise<Appended[]> {
  const updates = entries.flatMap((entry, index) => entry.updates.map((update) => ({ ...update, entry: index + 1 })));
  const rows = await tx.query<Omit<Appended, "content"> & { payload: Uint8Array | null }>(
    `select * from perch.append_updates(
       $1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::integer[], $7::bytea[], $8::text[], $9::boolean[], $10::text[])`,
    [
      entries.map((entry) => entry.space ?? "~ada"),
      entries.map(() => "notes"),
      entries.map(() => "pages"),
      entries.map((entry) => entry.id),
      entries.map((entry) => entry.after),
      updates.map((update) => update.entry),
      updates.map((update) => blob(update.content)),
      updates.map((update) => update.user),
      updates.map((update) => update.writable ?? null),
      updates.map(() => "device"),
    ],
  );
  return rows.map(({ payload, ...row }) => ({ ...row, content: payload === null ? null : contentOf(payload) }));
}

export const key = (id: string, space = "~ada") => [space, "notes", "pages", id];

export interface State {
  snapshot: Uint8Array | null;
  snapshot_seq: number;
  updates: Uint8Array[];
  head_seq: number;
}

export async function state(tx: Queryable, id: string, after = 0, space: string | null = null) {
  const [row] = await tx.query<State>(
    "select * from perch.document_state(app_id => 'notes', table_name => 'pages', record_id => $1, space_id => $2, after_seq => $3)",
    [id, space, after],
  );
  if (row === undefined) throw new Error("document_state returned no row");
  return {
    snapshot: row.snapshot === null ? null : contentOf(row.snapshot),
    updates: row.updates.map(contentOf),
    head: row.head_seq,
  };
}
