import type { Queryable } from "../../database/types.js";
import type { DocumentKey } from "../../documents/key.js";
import { type Identity, writableBy } from "../../identity/identity.js";
import type { EncryptedRecord, Version } from "./records.js";

/** Numbers alone do not identify a position: a database that went back gives them out again. See `perch.has_encrypted_position`. */
export interface EncryptedPosition {
  readonly seq: number;
  readonly revision: number;
}

export interface EncryptedState {
  /** The position that the records lead to. */
  readonly position: EncryptedPosition;
  /** Where this incarnation of the document began: the position of its last deletion, or 0. */
  readonly incarnation: number;
  readonly version: Version;
  readonly records: readonly Uint8Array[];
}

export interface StoredRecord {
  readonly seq: number;
  readonly payload: Uint8Array;
}

export interface MissedRecords extends Pick<EncryptedState, "position" | "incarnation"> {
  readonly records: readonly StoredRecord[];
  /** Whether they go on from where was asked: false when the database went back, null when that cannot be told any more. */
  readonly leadsOn: boolean | null;
}

/** What became of a record: its position; undefined when there was nothing new in it; or the code of its refusal. */
export type AppendResult = { readonly seq: number | undefined } | { readonly refused: string };

export interface NewRecord {
  readonly record: EncryptedRecord;
  readonly author: Identity;
}

const address = (key: DocumentKey) => [key.spaceId, key.appId, key.tableName, key.recordId];

/** What a reader at `version` lacks. Errors: PE404 when the table is not declared as one of encrypted documents. */
export async function readEncrypted(db: Queryable, key: DocumentKey, version: Version): Promise<EncryptedState> {
  const [row] = await db.query<{
    head_seq: number;
    incarnation_seq: number;
    reach_peers: Uint8Array[];
    reaches: number[];
    records: Uint8Array[];
    head_revision: number;
  }>(
    `select * from perch.encrypted_state(space_id => $1, app_id => $2, table_name => $3, record_id => $4,
                                         peer_ids => $5, counters => $6)`,
    [...address(key), [...version.keys()].map((peer) => Buffer.from(peer, "hex")), [...version.values()]],
  );
  if (row === undefined) throw new Error("perch.encrypted_state returned no row");
  return {
    position: { seq: row.head_seq, revision: row.head_revision },
    incarnation: row.incarnation_seq,
    version: new Map(row.reach_peers.map((peer, n) => [Buffer.from(peer).toString("hex"), row.reaches[n] ?? 0])),
    records: row.records,
  };
}

interface NewsRow {
  head_seq: number;
  head_revision: number;
  incarnation_seq: number;
  seqs: number[];
  records: Uint8Array[];
  leads_on: boolean | null;
}

/** What came behind a position. */
export async function readMissedRecords(
  db: Queryable,
  key: DocumentKey,
  after: EncryptedPosition,
): Promise<MissedRecords> {
  const [row] = await db.query<NewsRow>(
    `select * from perch.encrypted_after(space_id => $1, app_id => $2, table_name => $3, record_id => $4, after_seq => $5,
                                        after_revision => $6)`,
    [...address(key), after.seq, after.revision],
  );
  if (row === undefined) throw new Error("perch.encrypted_after returned no row");
  return {
    position: { seq: row.head_seq, revision: row.head_revision },
    incarnation: row.incarnation_seq,
    records: row.records.map((payload, n) => ({ seq: row.seqs[n] ?? 0, payload })),
    leadsOn: row.leads_on,
  };
}

/** The positions of many documents, in their order; the beginning for one that is not there. */
export async function encryptedPositions(db: Queryable, keys: readonly DocumentKey[]): Promise<EncryptedPosition[]> {
  return db.query<{ seq: number; revision: number }>(
    `select coalesce(d.head_seq, 0) as seq, coalesce(d.revision, 0) as revision
       from unnest($1::text[], $2::text[], $3::text[], $4::text[]) with ordinality as k (space_id, app_id, table_name, record_id, n)
       left join perch.encrypted_documents d
         on d.space_id = k.space_id and d.app_id = k.app_id and d.table_name = k.table_name and d.record_id = k.record_id
      order by k.n`,
    [
      keys.map((key) => key.spaceId),
      keys.map((key) => key.appId),
      keys.map((key) => key.tableName),
      keys.map((key) => key.recordId),
    ],
  );
}

/**
 * Appends records to the incarnation of a document that began at `incarnation`, in one transaction. `after` is the position that this node
 * has given its readers: where the database has something else there, nothing is appended (PE410). `revision` is to identify the position
 * that the document then has. Out: one result for each, in their order.
 * Errors: whatever the statement threw; then nothing was appended, or nobody knows.
 */
export async function appendEncrypted(
  db: Queryable,
  key: DocumentKey,
  { incarnation, after, revision }: { incarnation: number; after: EncryptedPosition; revision: number },
  records: readonly NewRecord[],
): Promise<AppendResult[]> {
  const rows = await db.query<{ ordinal: number; seq: number | null; error: string | null }>(
    `select * from perch.append_encrypted(
       space_id => $1, app_id => $2, table_name => $3, record_id => $4, incarnation_seq => $5, user_ids => $6, writable => $7,
       peer_ids => $8, firsts => $9, nexts => $10, versions => $11::text[]::jsonb[], payloads => $12,
       marks => $13, after_seq => $14, after_revision => $15, revision => $16)`,
    [
      ...address(key),
      incarnation,
      records.map(({ author }) => author.userId),
      records.map(({ author }) => writableBy(author, key.spaceId)),
      records.map(({ record }) => record.span?.peer ?? null),
      records.map(({ record }) => record.span?.first ?? null),
      records.map(({ record }) => record.span?.next ?? null),
      records.map(({ record }) => record.version && JSON.stringify(Object.fromEntries(record.version))),
      records.map(({ record }) => record.payload),
      records.map(({ record }) => record.mark),
      after.seq,
      after.revision,
      revision,
    ],
  );
  const results: AppendResult[] = records.map(() => ({ refused: "PE422" }));
  for (const { ordinal, seq, error } of rows) {
    results[ordinal - 1] = error === null ? { seq: seq ?? undefined } : { refused: error };
  }
  return results;
}
