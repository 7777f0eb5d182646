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
 * them. Compared with one Loro peer whose edits are stored one by one by the same means, so that both are folded by the same rule.
 * A join is what a client with nothing does with what it is sent: the three take turns, and medians are compared.
 * `node build/scripts/bench/patched.js [patches, default 2000]`.
 */

const title = (n: number) => `Title ${n}`;
const rounds = 41;

/** A process of its own, so that nothing is shared but the database. */
async function writeAll(mode: string, url: string, recordId: string, count: number): Promise<void> {
  const db = await openDatabase({ url, prepare: true });
  const documents = new DocumentStore();
  const doc = new LoroDoc();
  for (let n = 0; n < count; n++) {
    const from = doc.oplogVersion();
    doc.getMap("fields").set("title", title(n));
    doc.commit();
    await withContext(db, { userId: writer }, (tx) =>
      mode === "patch"
        ? documents.applyPatch(tx, keyOf(recordId), { title: title(n) })
        : documents.applyUpdate(tx, keyOf(recordId), doc.export({ mode: "update", from })),
    );
  }
  await documents.close();
  await db.close();
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
  readonly perSecond: number;
  readonly peers: number;
  readonly snapshotBytes: number;
  readonly versionBytes: number;
  readonly tail: number;
  /** What a join without a version is sent. */
  readonly updates: readonly Uint8Array[];
  readonly last: string;
}

async function main(count: number): Promise<void> {
  const postgres = await startPostgresServer({ version: 18 });
  const db = await openDatabase({ url: postgres.url(), prepare: true });
  await migrate(db);
  await prepare(db);
  const engine = createDocumentEngine({ threads: 1 });
  const live = createLiveDocuments({ db, engine });
  const warn = (details: object, message: string) =>
    process.stderr.write(`${message} ${String((details as { err?: unknown }).err ?? "")}\n`);
  const worker = await startWorker({ db, live, log: { info: () => undefined, warn } });

  async function write(name: string, mode: string, processes: number): Promise<Written> {
    const began = performance.now();
    const children: ChildProcess[] = Array.from({ length: processes }, () =>
      fork(fileURLToPath(import.meta.url), [mode, postgres.url(), name, `${Math.ceil(count / processes)}`]),
    );
    const codes = await Promise.all(children.map(async (child) => (await once(child, "exit"))[0] as number));
    if (codes.some((code) => code !== 0)) throw new Error(`a process ended with ${codes.join(", ")}`);
    const perSecond = (count / (performance.now() - began)) * 1_000;
    // Until the worker has projected and folded what it wants to.
    while ((await db.query("select from perch.document_queue where record_id = $1", [name])).length > 0)
      await new Promise((done) => setTimeout(done, 100));
    const document = await live.open(keyOf(name));
    const joined = await document.join(new Uint8Array(), () => undefined);
    joined.leave();
    const { snapshot, version } = await document.snapshot();
    document.release();
    const [tail] = await db.query<{ tail_count: number }>(
      "select tail_count from perch.documents where record_id = $1",
      [name],
    );
    const peers = LoroDoc.fromSnapshot(snapshot).oplogVersion().length();
    process.stdout.write(`${name}: ${count} at ${perSecond.toFixed(0)}/s; ${peers} peers\n`);
    return {
      name,
      perSecond,
      peers,
      snapshotBytes: snapshot.byteLength,
      versionBytes: version.byteLength,
      tail: tail?.tail_count ?? 0,
      updates: joined.updates,
      last: title(Math.ceil(count / processes) - 1),
    };
  }

  try {
    const documents = [
      await write("one Loro peer", "update", 1),
      await write("patches by one process", "patch", 1),
      await write("patches by eight processes", "patch", 8),
    ];
    const times = documents.map(() => [] as number[]);
    for (let round = 0; round < rounds; round++)
      for (const [n, { updates, last }] of documents.entries()) times[n]?.push(importing(updates, last));
    const [alone] = documents;
    const aloneMs = median(times[0] ?? []);
    for (const [n, document] of documents.entries()) {
      const ms = median(times[n] ?? []);
      process.stdout.write(
        `${document.name}: ${document.perSecond.toFixed(0)}/s, ${document.peers} peers, ` +
          `snapshot ${document.snapshotBytes} bytes (${(document.snapshotBytes / (alone?.snapshotBytes ?? 1)).toFixed(2)}), ` +
          `version ${document.versionBytes} bytes, tail ${document.tail}, sent in ${document.updates.length} parts, ` +
          `joined in ${ms.toFixed(2)} ms (${(ms / aloneMs).toFixed(2)})\n`,
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

const [mode, url = "", recordId = "", count = "0"] = process.argv.slice(2);
if (mode === "patch" || mode === "update") await writeAll(mode, url, recordId, Number(count));
else await main(Number(mode ?? 2_000));
