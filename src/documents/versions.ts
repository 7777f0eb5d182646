import type { Queryable, Transaction } from "../database/types.js";
import { PerchError } from "../errors.js";
import type { DocumentAddress, DocumentKey } from "./key.js";
import type { Ends } from "./loro/api.js";

export interface VersionsOptions {
  /** Only what is earlier than this position: for the next page, the `firstSeq` of the last one. */
  readonly before?: number | undefined;
  /** 1 to 1000; default 100. */
  readonly maxCount?: number | undefined;
}

/** A stretch of updates of one author without a pause of more than a minute. */
export interface DocumentVersion {
  /** Its last position: what `at` and `revert` take. */
  readonly seq: number;
  readonly firstSeq: number;
  readonly userId: string;
  readonly clientId: string | null;
  /** Who wrote on the user's behalf, as the push said. */
  readonly actor: unknown;
  readonly firstAt: Date;
  readonly lastAt: Date;
  readonly updates: number;
  readonly bytes: number;
}

interface VersionRow {
  seq: number;
  first_seq: number;
  user_id: string;
  client_id: string | null;
  actor: unknown;
  first_at: Date;
  last_at: Date;
  updates: number;
  bytes: number;
}

/**
 * Who changed a document when, the latest first. In: a transaction on a user's behalf (see `withContext`).
 * Errors: PE401, PE403, PE404 when the table is not declared, PE422.
 */
export async function documentVersions(
  tx: Transaction,
  { appId, tableName, recordId, spaceId = null }: DocumentAddress,
  { before, maxCount = 100 }: VersionsOptions = {},
): Promise<DocumentVersion[]> {
  const rows = await tx.query<VersionRow>(
    `select * from perch.document_versions(app_id => $1, table_name => $2, record_id => $3, space_id => $4,
                                           before => $5, max_count => $6)`,
    [appId, tableName, recordId, spaceId, before ?? null, maxCount],
  );
  return rows.map((row) => ({
    seq: row.seq,
    firstSeq: row.first_seq,
    userId: row.user_id,
    clientId: row.client_id,
    actor: row.actor,
    firstAt: row.first_at,
    lastAt: row.last_at,
    updates: row.updates,
    bytes: row.bytes,
  }));
}

const versionSql = `
  select * from perch.version_at(space_id => $1, app_id => $2, table_name => $3, record_id => $4, seq => $5)`;

interface PositionRow {
  merged_seq: number;
  incarnation_seq: number;
  version: Ends;
  earlier_seq: number | null;
  later_seq: number | null;
}

/**
 * What a document was at a position. In: a connection with the rights of perch_worker.
 * Errors: PE404 when the document does not exist or never came to that position; PE410 when the position is of an earlier incarnation, or in
 * the middle of a stretch that was folded, with the nearest positions that are known, `earlier_seq` and `later_seq`.
 */
export async function versionAt(db: Queryable, key: DocumentKey, seq: number): Promise<Ends> {
  if (!Number.isSafeInteger(seq)) {
    throw new PerchError("PE422", "a position is a whole number", {
      argument: "seq",
      expected: "an integer",
      got: seq,
    });
  }
  const [row] = await db.query<PositionRow>(versionSql, [
    key.spaceId,
    key.appId,
    key.tableName,
    key.recordId,
    Math.max(0, seq),
  ]);
  if (!row || seq > row.merged_seq || seq < 0) {
    const why = row ? `the document has not come to position ${seq}` : "there is no such document";
    throw new PerchError("PE404", why, { ...key, seq, latest_seq: row?.merged_seq ?? null });
  }
  if (seq < row.incarnation_seq) {
    throw new PerchError("PE410", `position ${seq} is of a document that was deleted`, {
      seq,
      earlier_seq: null,
      later_seq: row.incarnation_seq,
    });
  }
  if (row.later_seq !== null) {
    throw new PerchError("PE410", `position ${seq} is no longer told apart from those around it`, {
      seq,
      earlier_seq: row.earlier_seq ?? row.incarnation_seq,
      later_seq: row.later_seq,
    });
  }
  return row.version;
}
