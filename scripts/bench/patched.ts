import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { LoroDoc } from "loro-crdt";
import { migrate } from "../../src/database/migrate.js";
import { openDatabase } from "../../src/database/open.js";
import { createLiveDocuments } from "../../src/documents/live.js";
import { createDocumentEngine } from "../../src/documents/loro/engine.js";
import { DocumentStore } from "../../src/documents/store/store.js";
import { withContext } from "../../src/identity/context.js";
import { startWorker } from "../../src/worker/index.js";
import { startPostgresServer } from "../../test/support/postgres-server.js";
import { keyOf, prepare, writer } from "./documents/content.js";

/*
 * What becomes of a document that is written by nothing but patches: by one process, and by eight that take turns as the database lets
 * them. Compared with one Loro peer that makes the same edits. `node build/scripts/bench/patched.js [patches, default 2000]`.
 */

const title = (n: number) => `Title ${n}`;

/** A process of its own, so that nothing is shared but the database. */
async function patchAll(url: string, recordId: string, count: number): Promise<void> {
  const db = await openDatabase({ url, prepare: true });
  const documents = new DocumentStore();
  for (let n = 0; n < count; n++)
    await withContext(db, { userId: writer }, (tx) => documents.applyPatch(tx, keyOf(recordId), { title: title(n) }));
  await documents.close();
  await db.close();
}

function byOnePeer(count: number): LoroDoc {
  const doc = new LoroDoc();
  for (let n = 0; n < count; n++) {
    doc.getMap("fields").set("title", title(n));
    doc.commit();
  }
  return doc;
}

/** How long a client takes that has nothing. */
function importing(updates: readonly Uint8Array[]): number {
  const doc = new LoroDoc();
  const began = performance.now();
  for (const update of updates) doc.import(update);
  doc.toJSON();
  return performance.now() - began;
}

async function main(count: number): Promise<void> {
  const postgres = await startPostgresServer({ version: 18 });
  const db = await openDatabase({ url: postgres.url(), prepare: true });
  await migrate(db);
  await prepare(db);
  const engine = createDocumentEngine({ threads: 1 });
  const live = createLiveDocuments({ db, engine });
  const worker = await startWorker({ db, live });
  const report = (text: string) => process.stdout.write(`${text}\n`);
  try {
    const alone = byOnePeer(count);
    const aloneBytes = alone.export({ mode: "snapshot" }).byteLength;
    const aloneMs = importing([alone.export({ mode: "update" })]);
    report(`one Loro peer: snapshot ${aloneBytes} bytes, imported whole in ${aloneMs.toFixed(1)} ms`);
    for (const processes of [1, 8]) {
      const recordId = `by ${processes}`;
      const began = performance.now();
      const children: ChildProcess[] = Array.from({ length: processes }, () =>
        fork(fileURLToPath(import.meta.url), ["patch", postgres.url(), recordId, `${Math.ceil(count / processes)}`]),
      );
      const codes = await Promise.all(children.map(async (child) => (await once(child, "exit"))[0] as number));
      if (codes.some((code) => code !== 0)) throw new Error(`a process ended with ${codes.join(", ")}`);
      const seconds = (performance.now() - began) / 1000;
      const document = await live.open(keyOf(recordId));
      const joining = performance.now();
      const joined = await document.join(new Uint8Array(), () => undefined);
      const joinMs = performance.now() - joining;
      joined.leave();
      const importMs = importing(joined.updates);
      const { snapshot, version } = await document.snapshot();
      const peers = LoroDoc.fromSnapshot(snapshot).oplogVersion().length();
      const [tail] = await db.query<{ tail_count: number }>(
        "select tail_count from perch.documents where record_id = $1",
        [recordId],
      );
      report(
        `${processes} processes: ${(count / seconds).toFixed(0)} patches/s, ${peers} peers, snapshot ${snapshot.byteLength} bytes (${(snapshot.byteLength / aloneBytes).toFixed(2)}), ` +
          `version ${version.byteLength} bytes, tail ${tail?.tail_count}, joined in ${joinMs.toFixed(1)} ms, imported in ${importMs.toFixed(1)} ms (${((joinMs + importMs) / aloneMs).toFixed(2)})`,
      );
      document.release();
    }
  } finally {
    await worker.close();
    await live.close();
    await engine.close();
    await db.close();
    await postgres.stop();
  }
}

const [mode, url = "", recordId = "", count = "0"] = process.argv.slice(2);
if (mode === "patch") await patchAll(url, recordId, Number(count));
else await main(Number(mode ?? 2_000));
