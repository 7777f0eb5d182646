import type { Queryable } from "../../database/types.js";
import type { DocumentKey } from "../../documents/key.js";
import { writableBy } from "../../identity/identity.js";
import type { AppendPlace, Authored, EntryAppended, LogPosition, LogState, MissedEntries } from "../log-kind.js";
import type { EncryptedRecord, PeerVersion } from "./records.js";

const address = (key: DocumentKey) => [key.spaceId, key.appId, key.tableName, key.recordId];

/** What a reader at `version` lacks. Errors: PE404 when the table is not declared as one of encrypted documents. */
export async function readEncrypted(
  db: Queryable,
  key: DocumentKey,
  version: PeerVersion,
): Promise<LogState<PeerVersion>> {
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
    payloads: row.records,
  };
}

interface MissedRow {
  head_seq: number;
  head_revision: number;
  incarnation_seq: number;
  seqs: number[];
  records: Uint8Array[];
  leads_on: boolean | null;
}

/** What came behind a position. */
export async function readMissedRecords(db: Queryable, key: DocumentKey, after: LogPosition): Promise<MissedEntries> {
  const [row] = await db.query<MissedRow>(
    `select * from perch.encrypted_after(space_id => $1, app_id => $2, table_name => $3, record_id => $4, after_seq => $5,
                                        after_revision => $6)`,
    [...address(key), after.seq, after.revision],
  );
  if (row === undefined) throw new Error("perch.encrypted_after returned no row");
  return {
    position: { seq: row.head_seq, revision: row.head_revision },
    incarnation: row.incarnation_seq,
    entries: row.records.map((payload, n) => ({ seq: row.seqs[n] ?? 0, payload })),
    leadsOn: row.leads_on,
  };
}

/** The positions of many documents, in their order; the beginning for one that is not there. */
export async function encryptedPositions(db: Queryable, keys: readonly DocumentKey[]): Promise<LogPosition[]> {
  return db.query<{ seq: number; revision: number }>(
    "select * from perch.encrypted_positions(space_ids => $1, app_ids => $2, table_names => $3, record_ids => $4)",
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
  { incarnation, after, revision }: AppendPlace,
  records: readonly Authored<EncryptedRecord>[],
): Promise<EntryAppended[]> {
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
      records.map(({ entry: record }) => record.span?.peer ?? null),
      records.map(({ entry: record }) => record.span?.first ?? null),
      records.map(({ entry: record }) => record.span?.next ?? null),
      records.map(({ entry: record }) => record.version && JSON.stringify(Object.fromEntries(record.version))),
      records.map(({ entry: record }) => record.payload),
      records.map(({ entry: record }) => record.mark),
      after.seq,
      after.revision,
      revision,
    ],
  );
  const results: EntryAppended[] = records.map(() => ({ refused: "PE422" }));
  for (const { ordinal, seq, error } of rows) {
    results[ordinal - 1] = error === null ? { seq: seq ?? undefined } : { refused: error };
  }
  return results;
}
