import { LoroDoc } from "loro-crdt";
import type { Database } from "../../src/database/types.js";
import { withContext } from "../../src/identity/context.js";

/** The document of the story, and the names around it. */
export interface Place {
  spaceId: string;
  appId: string;
  tableName: string;
  recordId: string;
}

export const roomOf = ({ spaceId, appId, tableName, recordId }: Place) =>
  [spaceId, appId, tableName, recordId].map(encodeURIComponent).join("/");

/** What is stored of the document, as `userId` may read it by SQL. */
export async function readStored(
  db: Database,
  place: Place,
  userId: string,
): Promise<{ doc: LoroDoc; bytes: number; seq: number }> {
  const [state] = await withContext(db, { userId }, (tx) =>
    tx.query<{ snapshot: Uint8Array | null; updates: Uint8Array[]; head_seq: number }>(
      `select snapshot, updates, head_seq
         from perch.document_state(app_id => $1, table_name => $2, record_id => $3, space_id => $4)`,
      [place.appId, place.tableName, place.recordId, place.spaceId],
    ),
  );
  const blobs = [...(state?.snapshot ? [state.snapshot] : []), ...(state?.updates ?? [])];
  const doc = new LoroDoc();
  if (blobs.length > 0) doc.importBatch(blobs);
  return { doc, bytes: blobs.reduce((sum, blob) => sum + blob.byteLength, 0), seq: state?.head_seq ?? 0 };
}

/** The record that plain SQL sees, as `userId` may read it; undefined when there is none. */
export async function readRecord(
  db: Database,
  place: Place,
  userId: string,
): Promise<Record<string, unknown> | undefined> {
  const rows = await withContext(db, { userId }, (tx) =>
    tx.query<{ data: Record<string, unknown> }>(
      "select data from perch.records where space_id = $1 and app_id = $2 and table_name = $3 and record_id = $4",
      [place.spaceId, place.appId, place.tableName, place.recordId],
    ),
  );
  return rows[0]?.data;
}

/**
 * Sets the title by an update that is pushed in plain SQL, as a program without any connection to perch would.
 * Out: the peer of the update. With `rollBack` the transaction is thought better of.
 */
export async function pushTitle(
  db: Database,
  place: Place,
  userId: string,
  title: string,
  { rollBack = false } = {},
): Promise<string> {
  const { doc } = await readStored(db, place, userId);
  const before = doc.version();
  doc.getMap("fields").set("title", title);
  doc.commit();
  const update = doc.export({ mode: "update", from: before });
  const thoughtBetter = new Error("thought better of it");
  await withContext(db, { userId }, async (tx) => {
    await tx.query(
      "select perch.push_update(app_id => $1, table_name => $2, record_id => $3, update => $4, space_id => $5)",
      [place.appId, place.tableName, place.recordId, update, place.spaceId],
    );
    if (rollBack) throw thoughtBetter;
  }).catch((error: unknown) => {
    if (error !== thoughtBetter) throw error;
  });
  return doc.peerIdStr;
}
