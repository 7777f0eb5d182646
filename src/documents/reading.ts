import type { Queryable } from "../database/types.js";
import { PerchError } from "../errors.js";
import type { Identity } from "../identity/identity.js";
import type { DocumentAddress, DocumentKey } from "./key.js";
import type { LiveDocuments } from "./live/types.js";
import { versionAt } from "./versions.js";

export interface ReadDocument {
  readonly seq: number;
  /** What identifies the position, for a patch that is based on it; null where its update is folded away. */
  readonly revision: number | null;
  readonly data: Record<string, unknown>;
}

/**
 * A document as plain JSON, now or as it was at an earlier position, out of this node's live documents.
 * In: a connection with the rights of perch_worker. Errors: PE401, PE403, PE404 when the table is not declared or the document never
 * came to that position, PE410 when the position is of an earlier incarnation or was folded away (with those that are known around it).
 */
export async function readLiveDocument(
  { db, live }: { db: Queryable; live: LiveDocuments },
  reader: Identity,
  address: DocumentAddress,
  seq?: number,
): Promise<ReadDocument> {
  return readDocumentAt({ db, live }, await readableKey(db, reader, address), seq);
}

/** The same for who may read every document. Errors: PE404, PE410. */
export async function readDocumentAt(
  { db, live }: { db: Queryable; live: LiveDocuments },
  key: DocumentKey,
  seq?: number,
): Promise<ReadDocument> {
  const version = seq === undefined ? undefined : await versionAt(db, key, seq);
  await live.adopt(key);
  const document = await live.open(key);
  try {
    // Other nodes may have written what the version has in it.
    if (seq === undefined || document.position < seq) await document.refresh();
    if (version === undefined || seq === undefined) return await document.project();
    const revision = await revisionAt(db, key, seq);
    return await document.exclusive(async (held) => ({ seq, revision, data: await held.projectAt(version) }));
  } finally {
    document.release();
  }
}

async function revisionAt(db: Queryable, key: DocumentKey, seq: number): Promise<number | null> {
  const [row] = await db.query<{ revision: number | null }>(
    `select perch.revision_at(space_id => $1, app_id => $2, table_name => $3, record_id => $4, seq => $5) as revision`,
    [key.spaceId, key.appId, key.tableName, key.recordId, seq],
  );
  return row?.revision ?? null;
}

async function readableKey(
  db: Queryable,
  { userId, spaceIds, writableSpaceIds }: Identity,
  { appId, tableName, recordId, spaceId = null }: DocumentAddress,
): Promise<DocumentKey> {
  if (userId === "") throw new PerchError("PE401", "no user is named");
  const [row] = await db.query<{ in_space: string; access: string | null; in_sight: boolean }>(
    `select * from perch.readable_document(user_id => $1, space_id => $2, app_id => $3, table_name => $4, record_id => $5,
                                           space_ids => $6, writable_space_ids => $7)`,
    [userId, spaceId, appId, tableName, recordId, spaceIds ?? null, writableSpaceIds ?? null],
  );
  if (!row || row.access === null)
    throw new PerchError("PE403", "this user may not read this space", { space_id: row?.in_space ?? spaceId });
  // Of what is out of sight, or not there, no more is told.
  if (!row.in_sight)
    throw new PerchError("PE404", "there is no such row in this space", { table: tableName, id: recordId });
  return { spaceId: row.in_space, appId, tableName, recordId };
}
