import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { LoroDoc } from "loro-crdt";
import { migrate } from "../../src/database/migrate.js";
import { openDatabase } from "../../src/database/open.js";
import type { Database } from "../../src/database/types.js";
import { createLiveDocuments } from "../../src/documents/live.js";
import { createDocumentEngine } from "../../src/documents/loro/engine.js";
import { DocumentStore } from "../../src/documents/store/store.js";
import { withContext } from "../../src/identity/context.js";
import { startWorker } from "../../src/worker/index.js";
import { foldDocument } from "../../src/worker/project.js";
import { startPostgresServer } from "../../test/support/postgres-server.js";
import { keyOf, prepare, writer } from "./documents/content.js";

/*
 * What becomes of a document that is written by nothing but patches: by one process, and by eight that take turns as the database lets
 * them. Compared with one Loro peer that makes the same edits. When all is written each is folded, so that all are sent in the same form.
 * A join is what a client with nothing does with what it is sent: they take turns, and medians are compared.
 * A process says how fast it went in each tenth of its patches: they cost what they cost, however many there were before.
 * `node build/scripts/bench/patched.js [patches, default 2000] [processes, default 1 8]`. On SIGTERM no more patches are made, and what there are
 * by then is compared with one peer that makes as many.
 */

const title = (n: number) => `Title ${n}`;
const rounds = 41;

// A patch that changes something takes one position; of two processes that set the same title one after the other the second does not.
const foundSql = `
  select d.tail_count as tail, d.merged_seq as patches, r.data->>'title' as last
    from perch.documents d join perch.stored_records r using (space_id, app_id, table_name, record_id)
   where d.record_id = $1`;

/** A process of its own, so that nothing is shared but the database. */
async function patchAll(url: string, recordId: string, count: number): Promise<void> {
  let isOver = false;
  process.once("SIGTERM", () => {
    isOver = true;
  });
  const db = await openDatabase({ url, prepare: true });
  const documents = new DocumentStore();
  const tenth = Math.ceil(count / 10);
  const paces: number[] = [];
  let began = performance.now();
  for (let n = 0; n < count && !isOver; n++) {
    await withContext(db, { userId: writer }, (tx) => documents.applyPatch(tx, keyOf(recordId), { title: title(n) }));
    if ((n + 1) % tenth !== 0) continue;
    paces.push(Math.round(tenth / ((performance.now() - began) / 1_000)));
    began = performance.now();
  }
  process.stdout.write(`${recordId}: ${paces.join(", ")} a second\n`);
  await documents.close();
  await db.close();
}

/** The same edits by one Loro peer, handed on by the thousand. */
async function writeAlone(db: Database, recordId: string, count: number): Promise<void> {
  const documents = new DocumentStore();
  const doc = new LoroDoc();
  for (let n = 0, from = doc.oplogVersion(); n < count; n++) {
    doc.getMap("fields").set("title", title(n));
    doc.commit();
    if ((n + 1) % 1_000 !== 0 && n + 1 < count) continue;
    const update = doc.export({ mode: "update", from });
    await withContext(db, { userId: writer }, (tx) => documents.applyUpdate(tx, keyOf(recordId), update));
    from = doc.oplogVersion();
  }
  await documents.close();
}

/** How long a client takes that has nothing. Errors: it has another title then than the last one. */
function importing(updates: readonly Uint8Array[], last: string): number {
  const doc = new LoroDoc();
  const began = performance.now();
  for (const update of updates) doc.import(update);
  const { fields } = doc.toJSON() as { fields: { title: string } };
  const ms = performance.now() - began;
  if (fields.title !== last) throw new Error(`it shows "${fields.title}" instead of "${last}"`);
  doc.free();
  return ms;
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

interface Written {
  readonly name: string;
  readonly patches: number;
  readonly perSecond: number;
  readonly peers: number;
  readonly snapshotBytes: number;
  readonly versionBytes: number;
  readonly tail: number;
  /** What a join without a version is sent. */
  readonly updates: readonly Uint8Array[];
  readonly last: string;
}

async function main(count: number, processes: readonly number[]): Promise<void> {
  const postgres = await startPostgresServer({ version: 18 });
  const db = await openDatabase({ url: postgres.url(), prepare: true });
  await migrate(db);
  await prepare(db);
  const engine = createDocumentEngine({ threads: 1 });
  const live = createLiveDocuments({ db, engine });
  const warn = (details: object, message: string) =>
    process.stderr.write(`${message} ${String((details as { err?: unknown }).err ?? "")}\n`);
  const worker = await startWorker({ db, live, log: { info: () => undefined, warn } });

  async function write(name: string, processes: number, count: number): Promise<Written> {
    const began = performance.now();
    const children: ChildProcess[] = Array.from({ length: processes }, () =>
      fork(fileURLToPath(import.meta.url), ["patch", postgres.url(), name, `${Math.ceil(count / processes)}`]),
    );
    if (processes === 0) await writeAlone(db, name, count);
    const stop = () => {
      for (const child of children) child.kill();
    };
    process.once("SIGTERM", stop);
    const codes = await Promise.all(children.map(async (child) => (await once(child, "exit"))[0] as number));
    process.off("SIGTERM", stop);
    if (codes.some((code) => code !== 0)) throw new Error(`a process ended with ${codes.join(", ")}`);
    const ms = performance.now() - began;
    const [found] = await db.query<{ tail: number; patches: number; last: string }>(foundSql, [name]);
    // Until the worker has projected and folded what it wants to; then the rest is folded, too.
    while ((await db.query("select from perch.document_queue where record_id = $1", [name])).length > 0)
      await new Promise((done) => setTimeout(done, 100));
    const written = await live.open(keyOf(name));
    await written.refresh();
    await foldDocument(db, written);
    const { snapshot, version } = await written.snapshot();
    const joined = await written.join(new Uint8Array(), () => undefined);
    joined.leave();
    written.release();
    return {
      name,
      patches: found?.patches ?? 0,
      perSecond: ((found?.patches ?? 0) / ms) * 1_000,
      peers: LoroDoc.fromSnapshot(snapshot).oplogVersion().length(),
      snapshotBytes: snapshot.byteLength,
      versionBytes: version.byteLength,
      tail: found?.tail ?? 0,
      updates: joined.updates,
      last: found?.last ?? "",
    };
  }

  try {
    for (const number of processes) {
      const document = await write(`patches by ${number}`, number, count);
      const alone = await write(`one Loro peer beside ${number}`, 0, document.patches);
      const times = [document, alone].map(() => [] as number[]);
      for (let round = 0; round < rounds; round++)
        for (const [n, { updates, last }] of [document, alone].entries()) times[n]?.push(importing(updates, last));
      const [ms = 0, aloneMs = 0] = times.map(median);
      process.stdout.write(
        `${document.patches} ${document.name}: ${document.perSecond.toFixed(0)}/s, ${document.peers} peers, ` +
          `snapshot ${document.snapshotBytes} bytes (${(document.snapshotBytes / alone.snapshotBytes).toFixed(2)}), ` +
          `version ${document.versionBytes} bytes, tail ${document.tail} before it was folded, sent in ${document.updates.length} parts, ` +
          `joined in ${ms.toFixed(2)} ms (${(ms / aloneMs).toFixed(2)} of ${aloneMs.toFixed(2)})\n`,
      );
    }
  } finally {
    await worker.close();
    await live.close();
    await engine.close();
    await db.close();
    await postgres.stop();
  }
}

const [mode = "2000", ...rest] = process.argv.slice(2);
if (mode === "patch") await patchAll(rest[0] ?? "", rest[1] ?? "", Number(rest[2]));
else await main(Number(mode), rest.length > 0 ? rest.map(Number) : [1, 8]);
