import type { Queryable } from "../../database/types.js";
import { parseFields } from "../declaration.js";
import type { DocumentKey } from "../key.js";
import type { Ends } from "../loro/api.js";
import type { DocumentSchema } from "../loro/fields.js";

export interface StoredUpdate {
  readonly seq: number;
  /** Tells it from another update that a database which went back gives the same position. */
  readonly revision: number;
  readonly payload: Uint8Array;
}

/** A position of a document, and what identifies it; see `perch.has_position`. */
export interface Position {
  readonly seq: number;
  readonly revision: number;
}

export interface StoredDocument {
  readonly schema: DocumentSchema;
  /** Null when the updates alone suffice. */
  readonly snapshot: Uint8Array | null;
  readonly snapshotSeq: number;
  readonly snapshotRevision: number;
  readonly updates: readonly StoredUpdate[];
  /** The position that snapshot and updates add up to. */
  readonly headSeq: number;
  readonly headRevision: number;
  /** Where this incarnation of the document began: the position of its last deletion, or 0. */
  readonly incarnationSeq: number;
  /** What the incarnations before it had in them. */
  readonly ended: Ends;
  readonly projectionBytes: number;
}

/** With what is known of its version. */
export interface VersionedDocument extends StoredDocument {
  /** The snapshot's version, encoded; null when there is no snapshot, or nobody noted it. */
  readonly snapshotVersion: Uint8Array | null;
  readonly updates: readonly VersionedUpdate[];
  /** Whether the document leads on from the position that the reader gave. */
  readonly leadsOn: boolean;
}

export interface VersionedUpdate extends StoredUpdate {
  /** Where its new operations end; null when one that was stored with it, behind it, answers for both. */
  readonly ends: Ends | null;
}

const openSql = `
  select * from perch.open_document(space_id => $1, app_id => $2, table_name => $3, record_id => $4, after_seq => $5,
                                    after_revision => $6)`;

interface OpenRow {
  fields: unknown;
  snapshot: Uint8Array | null;
  snapshot_seq: number;
  version: Uint8Array | null;
  seqs: number[];
  lengths: number[];
  tail: Uint8Array;
  ends: (Ends | null)[];
  head_seq: number;
  incarnation_seq: number;
  projection_bytes: number;
  ended: Ends;
  snapshot_revision: number;
  revisions: number[];
  head_revision: number;
  leads_on: boolean | null;
}

const beginning: Position = { seq: 0, revision: 0 };

/** What a reader at a position lacks. Errors: PE404 when the table is not declared. */
export async function readDocument(db: Queryable, key: DocumentKey, after = beginning): Promise<VersionedDocument> {
  const params = [key.spaceId, key.appId, key.tableName, key.recordId, after.seq, after.revision];
  const [row] = await db.query<OpenRow>(openSql, params, { prepare: true });
  if (!row) throw new Error("perch.open_document returned no row");
  return {
    schema: { table: key.tableName, fields: parseFields(row.fields) },
    snapshot: row.snapshot,
    snapshotVersion: row.version,
    snapshotSeq: row.snapshot_seq,
    snapshotRevision: row.snapshot_revision,
    updates: tailOf(row),
    headSeq: row.head_seq,
    headRevision: row.head_revision,
    leadsOn: row.leads_on ?? false,
    incarnationSeq: row.incarnation_seq,
    ended: row.ended,
    projectionBytes: row.projection_bytes,
  };
}

function tailOf({ seqs, revisions, lengths, tail, ends }: OpenRow): VersionedUpdate[] {
  let end = 0;
  return seqs.map((seq, index) => {
    const start = end;
    end += lengths[index] ?? 0;
    return { seq, revision: revisions[index] ?? 0, payload: tail.subarray(start, end), ends: ends[index] ?? null };
  });
}

export function storedUpdates(row: { seqs: number[]; revisions: number[]; updates: Uint8Array[] }): StoredUpdate[] {
  return row.updates.map((payload, index) => ({
    seq: row.seqs[index] ?? 0,
    revision: row.revisions[index] ?? 0,
    payload,
  }));
}

export interface CatchUpRequest {
  readonly key: DocumentKey;
  readonly after: Position;
}

export interface Missed {
  readonly head: Position;
  /** Whether the document leads on from the position asked about, as far as can be told; else there are no updates here. */
  readonly leadsOn: boolean;
  readonly updates: readonly StoredUpdate[];
}

const missedSql = `
  select * from perch.missed_updates(space_ids => $1, app_ids => $2, table_names => $3, record_ids => $4,
                                     after_seqs => $5, after_revisions => $6)`;

interface MissedRow {
  head_seq: number;
  head_revision: number;
  leads_on: boolean;
  seqs: number[];
  revisions: number[];
  updates: Uint8Array[];
}

/** What was appended to each document after a position, in the order of the requests. */
export async function readMissed(db: Queryable, requests: readonly CatchUpRequest[]): Promise<Missed[]> {
  const rows = await db.query<MissedRow>(missedSql, [
    ...keyColumns(requests),
    requests.map(({ after }) => after.seq),
    requests.map(({ after }) => after.revision),
  ]);
  return rows.map((row) => ({
    head: { seq: row.head_seq, revision: row.head_revision },
    leadsOn: row.leads_on,
    updates: storedUpdates(row),
  }));
}

/** Keys as four parallel arrays, for `unnest`. */
export function keyColumns(items: readonly { readonly key: DocumentKey }[]): string[][] {
  return [
    items.map(({ key }) => key.spaceId),
    items.map(({ key }) => key.appId),
    items.map(({ key }) => key.tableName),
    items.map(({ key }) => key.recordId),
  ];
}

export interface AppendedUpdate {
  readonly payload: Uint8Array;
  readonly userId: string;
  /** For each Loro peer in it, the counter behind its last operation. */
  readonly ends: Ends | null;
  /** Null: perch.space_members decides. */
  readonly writable: boolean | null;
  readonly clientId: string | null;
}

export interface AppendEntry {
  readonly key: DocumentKey;
  /** The position the writer has; nothing is appended where the document does not lead on from it. */
  readonly after: Position;
  /** What identifies the position that these take the document to: drawn for them, see `newRevision`. */
  readonly revision: number;
  readonly updates: readonly AppendedUpdate[];
}

/** The revision of updates that are about to be appended. */
export function newRevision(): number {
  const [high = 0, low = 0] = crypto.getRandomValues(new Uint32Array(2));
  return 1 + (high % 2 ** 20) * 2 ** 32 + low;
}

/** `again`: not stored, since an update before it in the document was refused and it may build on that. */
export type AppendResult = { readonly seq: number } | { readonly refused: string } | { readonly again: true };

export interface EntryResult {
  /** What others appended after `after` and before ours. */
  readonly missed: { readonly seq: number; readonly payload: Uint8Array }[];
  /** One for each update of the entry. */
  readonly results: AppendResult[];
}

/** A document's position, as a notification tells of it. */
export interface Appended {
  readonly key: DocumentKey;
  readonly seq: number;
}

const appendSql = `
  select * from perch.append_updates(
    space_ids => $1, app_ids => $2, table_names => $3, record_ids => $4, after_seqs => $5,
    update_entries => $6, updates => $7, user_ids => $8, writable => $9, client_ids => $10,
    ends => $11::text[]::jsonb[], lock_timeout_ms => $12, notify => $13, after_revisions => $14, revisions => $15)`;

const notifySql = (first: number) => `
  select perch.notify_appends(${["space_ids", "app_ids", "table_names", "record_ids", "seqs"].map((name, index) => `${name} => $${first + index}`).join(", ")})`;

const notifyParams = (appended: readonly Appended[]) => [...keyColumns(appended), appended.map(({ seq }) => seq)];

/** Notifies of what was appended without a notification. */
export async function notifyAppends(db: Queryable, appended: readonly Appended[]): Promise<void> {
  await db.query(notifySql(1), notifyParams(appended), { prepare: true });
}

const appendAndNotifySql = `select a.* from (${notifySql(16)}) notified cross join lateral (${appendSql}) a`;

interface AppendRow {
  kind: "appended" | "missed";
  ordinal: number;
  seq: number | null;
  error: string | null;
  payload: Uint8Array | null;
}

/**
 * Appends to any number of documents in one transaction. In: `notify`: of which earlier appends it notifies as well as of its own; false: for
 * none, the caller will. Out: one result for each entry, in order.
 * Errors: whatever the statement threw; then nothing was appended, or nobody knows (see `failureOf`).
 */
export async function appendEntries(
  db: Queryable,
  entries: readonly AppendEntry[],
  lockTimeoutMs: number,
  notify: readonly Appended[] | false = [],
): Promise<EntryResult[]> {
  const updates = entries.flatMap((entry, index) => entry.updates.map((update) => ({ ...update, entry: index + 1 })));
  const params = [
    ...keyColumns(entries),
    entries.map((entry) => entry.after.seq),
    updates.map((update) => update.entry),
    updates.map((update) => update.payload),
    updates.map((update) => update.userId),
    updates.map((update) => update.writable),
    updates.map((update) => update.clientId),
    updates.map((update) => update.ends && JSON.stringify(update.ends)),
    lockTimeoutMs,
    notify !== false,
    entries.map((entry) => entry.after.revision),
    entries.map((entry) => entry.revision),
  ];
  const rows = await (notify && notify.length > 0
    ? db.query<AppendRow>(appendAndNotifySql, [...params, ...notifyParams(notify)], { prepare: true })
    : db.query<AppendRow>(appendSql, params, { prepare: true }));
  const results: EntryResult[] = entries.map(() => ({ missed: [], results: [] }));
  // "appended" rows come in the order of the updates, so each is the next of its entry.
  for (const row of rows) {
    const entry = row.kind === "missed" ? row.ordinal : updates[row.ordinal - 1]?.entry;
    const result = results[(entry ?? 0) - 1];
    if (!result) throw new Error(`perch.append_updates answered for an unknown ${row.kind} ordinal ${row.ordinal}`);
    if (row.kind === "appended") {
      result.results.push(resultOf(row));
    } else if (row.seq !== null && row.payload !== null) {
      result.missed.push({ seq: row.seq, payload: row.payload });
    }
  }
  return results;
}

function resultOf({ seq, error }: AppendRow): AppendResult {
  if (seq !== null) return { seq };
  return error === null ? { again: true } : { refused: error };
}
