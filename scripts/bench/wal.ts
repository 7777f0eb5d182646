import { LoroDoc } from "loro-crdt";
import { openDatabase } from "../../src/database/open.js";
import { DocumentStore } from "../../src/documents/store/store.js";
import { startPostgresServer } from "../../test/support/postgres-server.js";
import { seededRandom } from "../../test/support/traces.js";
import { openAuthor } from "../demo/author.js";
import { figure } from "../support/figures.js";
import { perchProcess } from "../support/perch-process.js";
import type { Benchmark, BenchmarkOptions } from "./benchmark.js";
import { prepare, roomOf, store, writer } from "./documents/content.js";
import { wholeDocuments } from "./documents/patches.js";
import { appends, snapshotUpserts, type Typist, typed } from "./log-bytes.js";

const letters = 50_000;
const strokesPerSecond = 5;

/** Types random letters at random places. */
const randomTypist: Typist = (doc) => {
  const random = seededRandom(4);
  const text = doc.getText("body");
  return () => {
    const letter = String.fromCharCode(97 + Math.floor(random() * 26));
    text.insert(Math.floor(random() * (text.length + 1)), letter);
    doc.commit();
  };
};

/**
 * Bytes written to the log of the database for a keystroke in a document of 50,000 letters, each typed at a random place.
 * No checkpoint falls into the run: the page images that follow one are not in these figures, for anybody.
 */
async function run({ seconds, rounds, show }: BenchmarkOptions): Promise<void> {
  const postgres = await startPostgresServer({
    version: 18,
    settings: { full_page_writes: "on", checkpoint_timeout: "1h", max_wal_size: "8GB" },
  });
  const perch = await perchProcess({ env: { DATABASE_URL: postgres.url() } });
  const db = await openDatabase(postgres.url());
  const documents = new DocumentStore();
  try {
    await perch.start();
    await prepare(db);
    await db.transaction((tx) => tx.script(wholeDocuments));
    const doc = new LoroDoc();
    const stroke = randomTypist(doc);
    for (let count = 0; count < letters; count++) stroke();
    const snapshot = doc.export({ mode: "snapshot" });
    const copy = () => LoroDoc.fromSnapshot(snapshot);

    await store(db, documents, "typed", doc);
    const author = await openAuthor({ url: perch.url, roomId: roomOf("typed"), token: writer, field: "body" });
    await author.room.waitForReachingServerVersion();
    const length = Math.max(20, seconds * rounds);
    const whole = await typed(db, author, strokesPerSecond, length, randomTypist);
    author.leave();
    await perch.stop();

    const seq = await store(db, documents, "logged", doc);
    const alone = await appends(db, "logged", copy(), seq, 500, randomTypist);
    const upsert = await snapshotUpserts(db, copy(), 20, randomTypist);
    const row = (name: string, bytes: number) => [name, figure(bytes, "B"), figure(upsert / bytes)];
    show([
      [`WAL per keystroke, ${figure(letters)} letters`, "bytes", "less than a snapshot by"],
      row("the keystroke itself", alone),
      row(`with projection and log, ${strokesPerSecond} a second for ${length} s`, whole),
      row(`upsert of the whole snapshot (${figure(snapshot.byteLength / 1000, "kB")})`, upsert),
    ]);
  } finally {
    await documents.close();
    await db.close();
    await perch.stop();
    await postgres.close();
  }
}

export const benchmark: Benchmark = {
  summary: "bytes in the database's log per keystroke, against storing whole snapshots",
  run,
};
