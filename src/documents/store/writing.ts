import { lacksRight } from "../../database/errors.js";
import type { Transaction } from "../../database/types.js";
import { PerchError } from "../../errors.js";
import type { DocumentKey } from "../key.js";
import { appendEntries, type Position } from "../live/queries.js";
import type { Ends } from "../loro/api.js";
import type { Projection } from "./cached-projection.js";
import { hasWritten, type OpenedDocument } from "./open-for-write.js";
import { asWorker, needsBothRoles } from "./worker-role.js";

/** An update as it is to be stored. */
export interface Made {
  readonly update: Uint8Array;
  readonly ends: Ends;
  /** The position of the replica it was made in. */
  readonly after: Position;
  readonly revision: number;
  readonly clientId: string | null;
}

const writeSql = `
  select perch.write_document(space_id => $1, app_id => $2, table_name => $3, record_id => $4, after_seq => $5, update => $6,
                              ends => $7::jsonb, client_id => $8, data => $9::jsonb, size => $10, is_whole => $11,
                              after_revision => $12, revision => $13) as seq`;

const projectSql = `
  select from perch.project_document(space_id => $1, app_id => $2, table_name => $3, record_id => $4,
                                     seq => $5, data => $6::jsonb, size => $7, revision => $8)`;

/**
 * Appends an update and writes what it leads to, in one call. Out: its position; undefined, with nothing done, when the document is not
 * where the update was made any more, or the record needs all fields. Errors: PE403, PE413.
 */
export async function writeAtOnce(
  tx: Transaction,
  { key }: OpenedDocument,
  { update, ends, after, revision, clientId }: Made,
  { cached: { bytes }, json, isWhole }: Projection,
): Promise<number | undefined> {
  const made = [after.seq, update, JSON.stringify(ends), clientId];
  const params = [...parts(key), ...made, json, bytes, isWhole, after.revision, revision];
  try {
    const [row] = await tx.query<{ seq: number | null }>(writeSql, params, { prepare: true });
    return row?.seq ?? undefined;
  } catch (error) {
    throw lacksRight(error) ? needsBothRoles(error) : error;
  } finally {
    hasWritten(tx);
  }
}

/** Appends an update, wherever the document is now. Out: its position. Errors: PE410, PE413. */
export function append(tx: Transaction, opened: OpenedDocument, made: Made): Promise<number> {
  const { update, ends, after, revision, clientId } = made;
  const author = { userId: opened.userId, writable: true, clientId };
  const entry = { key: opened.key, after, revision, updates: [{ payload: update, ends, ...author }] };
  return asWorker(tx, async () => {
    const [result] = await appendEntries(tx, [entry], lockTimeoutMs).finally(() => hasWritten(tx));
    const [placed] = result?.results ?? [];
    if (!placed || "again" in placed) throw new Error("perch.append_updates gave no answer");
    if ("refused" in placed) throw refusal(placed.refused, opened.key);
    return placed.seq;
  });
}

// As long as the transaction itself would wait.
const lockTimeoutMs = 0;

/** Writes the whole JSON of a position into the record and the log. */
export async function project(
  tx: Transaction,
  { key }: OpenedDocument,
  { seq, revision }: Position,
  { cached: { bytes }, json }: Projection,
): Promise<void> {
  await asWorker(tx, () => tx.query(projectSql, [...parts(key), seq, json, bytes, revision], { prepare: true }));
}

function refusal(code: string, key: DocumentKey): PerchError {
  const why =
    code === "PE413"
      ? "the update is over the limit"
      : "the document was deleted meanwhile, or the database went back to an earlier state of it";
  return new PerchError(code === "PE413" ? "PE413" : "PE410", why, { ...key });
}

export function parts({ spaceId, appId, tableName, recordId }: DocumentKey): string[] {
  return [spaceId, appId, tableName, recordId];
}
