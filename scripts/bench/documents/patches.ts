import { LoroDoc } from "loro-crdt";
import type { Database } from "../../../src/database/types.js";
import { DocumentStore } from "../../../src/documents/store/store.js";
import { withContext } from "../../../src/identity/context.js";
import type { Work } from "../race.js";
import { keyOf, store, writer } from "./content.js";

/** Changes one string of a document over and over, a transaction each: perch's way, and with whole snapshots. */
export interface Patching {
  readonly bytes: number;
  readonly perch: Work;
  readonly snapshots: Work;
  close(): Promise<void>;
}

const counting =
  (once: (nth: number) => Promise<unknown>): Work =>
  async (deadline) => {
    let done = 0;
    while (performance.now() < deadline) await once(done++);
    return done;
  };

/** In: the document, and a store of its own for it. */
export async function patching(db: Database, recordId: string, doc: LoroDoc): Promise<Patching> {
  const key = keyOf(recordId);
  const documents = new DocumentStore();
  const snapshot = doc.export({ mode: "snapshot" });
  await store(db, documents, recordId, doc);
  await db.query("insert into whole_documents values ($1, $2)", [recordId, snapshot]);

  const patchOnce = (nth: number) =>
    withContext(db, { userId: writer }, (tx) => documents.applyPatch(tx, key, { title: `Title ${nth}` }));

  // The same user, isolation and lock: what else is done for the document is left out.
  const upsertOnce = (nth: number) =>
    withContext(db, { userId: writer }, async (tx) => {
      await tx.query(
        "select perch.lock_document(space_id => $1, app_id => $2, table_name => $3, record_id => 'whole')",
        [key.spaceId, key.appId, key.tableName],
      );
      const [row] = await tx.query<{ snapshot: Uint8Array }>("select snapshot from whole_documents where id = $1", [
        recordId,
      ]);
      const doc = LoroDoc.fromSnapshot(row?.snapshot ?? new Uint8Array());
      doc.getMap("fields").set("title", `Title ${nth}`);
      doc.commit();
      await tx.query(
        "insert into whole_documents values ($1, $2) on conflict (id) do update set snapshot = excluded.snapshot",
        [recordId, doc.export({ mode: "snapshot" })],
      );
      doc.free();
    });

  return {
    bytes: snapshot.byteLength,
    perch: counting(patchOnce),
    snapshots: counting(upsertOnce),
    close: () => documents.close(),
  };
}

/** Where whole snapshots are kept; who may use them is whoever may use perch. */
export const wholeDocuments = `
  create table whole_documents (id text primary key, snapshot bytea not null);
  alter table whole_documents alter column snapshot set storage external;
  grant select, insert, update on whole_documents to perch_app;
`;
