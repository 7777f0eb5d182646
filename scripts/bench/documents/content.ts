import { LoroDoc } from "loro-crdt";
import type { Database } from "../../../src/database/types.js";
import type { DocumentStore } from "../../../src/documents/store/store.js";
import { withContext } from "../../../src/identity/context.js";
import { type SequentialTrace, seededRandom, sequentialTrace } from "../../../test/support/traces.js";
import { applyPatch } from "../../demo/author.js";

export const appId = "bench";
export const tableName = "notes";
export const fields = { title: "string", body: "text" };
export const writer = "writer";
export const reader = "reader";
export const spaceId = "desk";

export const keyOf = (recordId: string) => ({ spaceId, appId, tableName, recordId });
export const roomOf = (recordId: string) => `${spaceId}/${appId}/${tableName}/${recordId}`;

/** Declares the table, and makes the space that writer and reader share. */
export async function prepare(db: Database): Promise<void> {
  await db.query("select perch.declare_table(app_id => $1, table_name => $2, fields => $3::jsonb)", [
    appId,
    tableName,
    JSON.stringify(fields),
  ]);
  await withContext(db, { userId: writer }, async (tx) => {
    await tx.query("select perch.create_space($1)", [spaceId]);
    await tx.query("select perch.set_space_member($1, $2, 'editor')", [spaceId, reader]);
  });
}

/** Stores a document, folded into a snapshot and projected, as it is when nobody has edited it for a while. */
export async function store(db: Database, documents: DocumentStore, recordId: string, doc: LoroDoc): Promise<number> {
  const key = keyOf(recordId);
  const { seq } = await withContext(db, { userId: writer }, (tx) =>
    documents.applyUpdate(tx, key, doc.export({ mode: "update" })),
  );
  await db.query(
    "select perch.fold_document(space_id => $1, app_id => $2, table_name => $3, record_id => $4, snapshot => $5, seq => $6, version => $7)",
    [spaceId, appId, tableName, recordId, doc.export({ mode: "snapshot" }), seq, doc.oplogVersion().encode()],
  );
  await documents.evict(key);
  return seq;
}

let recorded: SequentialTrace | undefined;

/** `automerge-paper`, or a generated session of as many edits, which takes some seconds to make. */
export function session(): SequentialTrace {
  recorded ??= sequentialTrace(260_000);
  return recorded;
}

/** A document written as `automerge-paper` was (or a generated session of as many edits), one commit a keystroke. */
export interface Written {
  readonly doc: LoroDoc;
  readonly snapshot: Uint8Array;
  readonly edits: number;
  /** Each keystroke as the update that a client sends for it. */
  readonly updates: Uint8Array[];
}

/** In: how many edits of the session; default: all of some 260,000. */
export function paper(edits = 300_000): Written {
  const { txns } = session();
  const doc = new LoroDoc();
  const text = doc.getText("body");
  const updates: Uint8Array[] = [];
  const unsubscribe = doc.subscribeLocalUpdates((update) => updates.push(update));
  for (const { patches } of txns.slice(0, edits)) {
    for (const patch of patches) applyPatch(text, patch);
    doc.commit();
  }
  unsubscribe();
  return { doc, snapshot: doc.export({ mode: "snapshot" }), edits: Math.min(edits, txns.length), updates };
}

/** A document whose snapshot is about so large: a title, and a body typed at random places. */
export function note(bytes: number): LoroDoc {
  const random = seededRandom(bytes);
  const doc = new LoroDoc();
  doc.getMap("fields").set("title", "A note");
  const text = doc.getText("body");
  const letters = "etaoin shrdlu cmfwyp";
  do {
    for (let count = bytes / 100; count > 0; count--)
      text.insert(Math.floor(random() * (text.length + 1)), letters[Math.floor(random() * letters.length)] ?? "e");
    doc.commit();
  } while (doc.export({ mode: "snapshot" }).byteLength < bytes);
  return doc;
}
