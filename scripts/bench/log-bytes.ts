import type { LoroDoc } from "loro-crdt";
import type { Database } from "../../src/database/types.js";
import { appendEntries, newRevision, readDocument } from "../../src/documents/live/queries.js";
import { type Author, endOf } from "../demo/author.js";
import { keyOf, writer } from "./documents/content.js";

/** Bytes that `work` writes to the log of the database. */
export async function logged(db: Database, work: () => Promise<void>): Promise<number> {
  const [before] = await db.query<{ lsn: string }>("select pg_current_wal_lsn()::text as lsn");
  await work();
  const [after] = await db.query<{ bytes: number }>(
    "select pg_wal_lsn_diff(pg_current_wal_lsn(), $1::pg_lsn)::float8 as bytes",
    [before?.lsn],
  );
  return after?.bytes ?? Number.NaN;
}

/** Whoever types a letter into the body with each call, a commit each. */
export type Typist = (doc: LoroDoc) => () => void;

/** Types on where the body ends. */
export const typist: Typist = (doc) => {
  const text = doc.getText("body");
  let count = 0;
  return () => {
    text.insert(text.length, "etaoin shrdlu"[count++ % 13] ?? "e");
    doc.commit();
  };
};

/** What a server that keeps whole documents logs for a keystroke. */
export async function snapshotUpserts(db: Database, doc: LoroDoc, strokes: number, type = typist): Promise<number> {
  const stroke = type(doc);
  const upsert = async () => {
    stroke();
    await db.query(
      "insert into whole_documents values ('logged', $1) on conflict (id) do update set snapshot = excluded.snapshot",
      [doc.export({ mode: "snapshot" })],
    );
  };
  await upsert();
  const bytes = await logged(db, async () => {
    for (let count = 0; count < strokes; count++) await upsert();
  });
  return bytes / strokes;
}

/** The append alone: the statement by which a node stores a keystroke, with no worker to project anything. */
export async function appends(
  db: Database,
  recordId: string,
  doc: LoroDoc,
  seq: number,
  strokes: number,
  type = typist,
): Promise<number> {
  const updates: Uint8Array[] = [];
  const unsubscribe = doc.subscribeLocalUpdates((update) => updates.push(update));
  const stroke = type(doc);
  for (let count = 0; count < strokes + 20; count++) stroke();
  unsubscribe();
  let after = { seq, revision: (await readDocument(db, keyOf(recordId))).headRevision };
  const append = async (payload: Uint8Array) => {
    const ends = { [doc.peerIdStr]: endOf([payload], doc.peerIdStr) };
    const author = { userId: writer, writable: null, clientId: null };
    const revision = newRevision();
    const [entry] = await appendEntries(
      db,
      [{ key: keyOf(recordId), after, revision, updates: [{ payload, ends, ...author }] }],
      5_000,
    );
    const [result] = entry?.results ?? [];
    if (result === undefined || !("seq" in result)) throw new Error("a keystroke was refused");
    after = { seq: result.seq, revision };
  };
  // The first ones touch their pages for the first time.
  for (const update of updates.splice(0, 20)) await append(update);
  const bytes = await logged(db, async () => {
    for (const update of updates) await append(update);
  });
  return bytes / strokes;
}

/** A person who types so many letters a second, with all that perch makes of it: projection, log entry, folding. */
export async function typed(
  db: Database,
  author: Author,
  perSecond: number,
  seconds: number,
  type = typist,
): Promise<number> {
  const stroke = type(author.doc);
  const typeFor = async (length: number) => {
    const started = performance.now();
    let count = 0;
    for (; count < length * perSecond; count++) {
      stroke();
      const next = started + ((count + 1) * 1000) / perSecond;
      await new Promise((done) => setTimeout(done, Math.max(0, next - performance.now())));
    }
    return count;
  };
  await typeFor(6);
  let strokes = 0;
  const bytes = await logged(db, async () => {
    strokes = await typeFor(seconds);
  });
  return bytes / strokes;
}
