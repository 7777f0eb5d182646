import { LoroAdaptor } from "loro-adaptors/loro";
import { LoroDoc } from "loro-crdt";
import { LoroWebsocketClient } from "loro-websocket";
import { WebSocket } from "ws";
import { withContext } from "../../src/context/context.js";
import { openDatabase } from "../../src/database/open.js";
import type { Database } from "../../src/database/types.js";
import { appendEntries } from "../../src/documents/live/stored.js";
import { startPostgresServer } from "../../test/support/postgres-server.js";
import { seededRandom } from "../../test/support/traces.js";
import { endOf } from "../demo/author.js";
import { figure, table } from "../support/figures.js";
import { perchProcess } from "../support/perch-process.js";
import type { Benchmark, BenchmarkOptions } from "./benchmark.js";
import { logged } from "./documents/log-bytes.js";

const key = { spaceId: "~typist", appId: "bench", tableName: "notes", recordId: "long" };
const strokesPerSecond = 5;

/** Types random letters at random places of the body. */
function randomTypist(doc: LoroDoc): () => void {
  const random = seededRandom(4);
  const text = doc.getText("body");
  return () => {
    const letter = String.fromCharCode(97 + Math.floor(random() * 26));
    text.insert(Math.floor(random() * (text.length + 1)), letter);
    doc.commit();
  };
}

/** What a server that keeps whole documents does for a keystroke. */
async function snapshotUpserts(db: Database, doc: LoroDoc, strokes: number): Promise<number> {
  await db.query("create table whole_documents (id text primary key, snapshot bytea not null)");
  await db.query("alter table whole_documents alter column snapshot set storage external");
  const stroke = randomTypist(doc);
  const upsert = async () => {
    stroke();
    await db.query(
      "insert into whole_documents values ('long', $1) on conflict (id) do update set snapshot = excluded.snapshot",
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
async function appends(db: Database, strokes: number): Promise<number> {
  const { doc, seq } = await readStored(db);
  const updates: Uint8Array[] = [];
  const unsubscribe = doc.subscribeLocalUpdates((update) => updates.push(update));
  const stroke = randomTypist(doc);
  for (let count = 0; count < strokes + 20; count++) stroke();
  unsubscribe();
  let afterSeq = seq;
  const append = async (payload: Uint8Array) => {
    const ends = { [doc.peerIdStr]: endOf([payload], doc.peerIdStr) };
    const author = { userId: "typist", writable: null, clientId: null };
    const [entry] = await appendEntries(db, [{ key, afterSeq, updates: [{ payload, ends, ...author }] }], 5_000);
    const [result] = entry?.results ?? [];
    if (result === undefined || !("seq" in result)) throw new Error("a keystroke was refused");
    afterSeq = result.seq;
  };
  // The first ones touch their pages for the first time.
  for (const update of updates.splice(0, 20)) await append(update);
  const bytes = await logged(db, async () => {
    for (const update of updates) await append(update);
  });
  return bytes / strokes;
}

/** A client that types at a person's pace, with everything that perch makes of it. */
async function typed(db: Database, url: string, seconds: number): Promise<number> {
  (globalThis as { WebSocket?: unknown }).WebSocket = WebSocket;
  const client = new LoroWebsocketClient({ url: `${url}?token=typist`, disablePing: true });
  await client.waitConnected();
  const doc = new LoroDoc();
  const room = await client.join({ roomId: "/bench/notes/long", crdtAdaptor: new LoroAdaptor(doc) });
  await room.waitForReachingServerVersion();
  const stroke = randomTypist(doc);
  const typeFor = async (length: number) => {
    const started = performance.now();
    let count = 0;
    for (; count < length * strokesPerSecond; count++) {
      stroke();
      const next = started + ((count + 1) * 1000) / strokesPerSecond;
      await new Promise((done) => setTimeout(done, Math.max(0, next - performance.now())));
    }
    return count;
  };
  await typeFor(12);
  let strokes = 0;
  const bytes = await logged(db, async () => {
    strokes = await typeFor(seconds);
  });
  client.destroy();
  return bytes / strokes;
}

async function projected(db: Database, length: number): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    const rows = await withContext(db, { userId: "typist" }, (tx) =>
      tx.query<{ length: number }>(
        "select length(data->>'body') as length from perch.records where record_id = 'long'",
      ),
    );
    if (rows[0]?.length === length) return;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error("the document is not in its record after 30 s");
}

/**
 * Bytes written to the log of the database for a keystroke in a document of 50,000 letters, each typed at a random place.
 * No checkpoint falls into the run: the page images that follow one are not in these figures, for anybody.
 */
async function run({ seconds, rounds, print }: BenchmarkOptions): Promise<void> {
  const postgres = await startPostgresServer({
    version: 18,
    settings: { full_page_writes: "on", checkpoint_timeout: "1h", max_wal_size: "8GB" },
  });
  const perch = await perchProcess({ env: { DATABASE_URL: postgres.url() } });
  const db = await openDatabase(postgres.url());
  try {
    await perch.start();
    await db.query("select perch.declare_table(app_id => 'bench', table_name => 'notes', fields => $1::jsonb)", [
      JSON.stringify({ body: "text" }),
    ]);
    const doc = new LoroDoc();
    const stroke = randomTypist(doc);
    for (let count = 0; count < 50_000; count++) stroke();
    const snapshot = doc.export({ mode: "snapshot" });
    await withContext(db, { userId: "typist" }, (tx) =>
      tx.query("select perch.push_update(app_id => $1, table_name => $2, record_id => $3, update => $4)", [
        key.appId,
        key.tableName,
        key.recordId,
        snapshot,
      ]),
    );
    await projected(db, 50_000);

    const length = Math.max(20, seconds * rounds);
    const whole = await typed(db, perch.url, length);
    await perch.stop();
    const alone = await appends(db, 500);
    const upsert = await snapshotUpserts(db, doc, 20);
    const row = (name: string, bytes: number) => [name, figure(bytes, "B"), figure(upsert / bytes)];
    print(
      table([
        ["WAL per keystroke, 50,000 letters", "bytes", "less than a snapshot by"],
        row("the keystroke itself", alone),
        row(`with projection and log, ${strokesPerSecond} a second for ${length} s`, whole),
        row(`upsert of the whole snapshot (${figure(snapshot.byteLength / 1000, "kB")})`, upsert),
      ]),
    );
  } finally {
    await db.close();
    await perch.stop();
    await postgres.close();
  }
}

/** The document as it is stored, and the position it stands for. */
async function readStored(db: Database): Promise<{ doc: LoroDoc; seq: number }> {
  const [state] = await withContext(db, { userId: "typist" }, (tx) =>
    tx.query<{ snapshot: Uint8Array | null; updates: Uint8Array[]; seq: number }>(
      "select snapshot, updates, head_seq as seq from perch.document_state(app_id => $1, table_name => $2, record_id => $3)",
      [key.appId, key.tableName, key.recordId],
    ),
  );
  const doc = new LoroDoc();
  doc.importBatch([...(state?.snapshot ? [state.snapshot] : []), ...(state?.updates ?? [])]);
  return { doc, seq: state?.seq ?? 0 };
}

export const benchmark: Benchmark = {
  summary: "bytes in the database's log per keystroke, against storing whole snapshots",
  run,
};
