import { spawn } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { packageRoot } from "../../src/database/package-root.js";
import { cleanup, connect, declare, eventually, freshId, keyOf, pause, storedText } from "../documents/live/support.js";
import { postgres, type TestDatabase } from "../support/databases.js";
import { inbox, patchDocument, pushUpdate, record, replica, startWorkerNode } from "./support.js";

const open = postgres(18);

/** A worker in a process of its own, from the built files, as the superuser of the test. */
async function startProcess(t: TestDatabase): Promise<{ kill(): Promise<void> }> {
  const dist = join(packageRoot, "dist");
  const program = `
    const { openPostgres } = await import(${JSON.stringify(join(dist, "database/postgres.js"))});
    const { createLiveDocuments } = await import(${JSON.stringify(join(dist, "documents/live.js"))});
    const { createDocumentEngine } = await import(${JSON.stringify(join(dist, "documents/loro/engine.js"))});
    const { startWorker } = await import(${JSON.stringify(join(dist, "worker/index.js"))});
    const db = openPostgres({ url: process.argv[1] });
    const engine = createDocumentEngine({ threads: 1 });
    const live = createLiveDocuments({ db, engine });
    const worker = await startWorker({ db, live, settings: { pollMs: 100, takeOverMs: 100 } });
    setInterval(() => undefined, 1000);
    console.log("ready");`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program, t.url ?? ""], { stdio: "pipe" });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  const exited = new Promise<void>((done) => child.once("exit", () => done()));
  await new Promise<void>((ready, fail) => {
    child.stdout.once("data", () => ready());
    void exited.then(() => fail(new Error(`the worker ended: ${errors}`)));
  });
  const kill = async () => {
    child.kill("SIGKILL");
    await exited;
  };
  cleanup(kill);
  return { kill };
}

describe("several workers on one database", () => {
  it("share the inbox: each push is merged once, in its document's order", async () => {
    const t = await open();
    await declare(t);
    const nodes = [await startWorkerNode(t), await startWorkerNode(t), await startWorkerNode(t)];
    const keys = Array.from({ length: 12 }, () => keyOf(freshId()));
    const authors = keys.map(() => replica());
    await Promise.all(
      keys.map(async (key, index) => {
        for (const letter of "abcdefgh") {
          await t.asUser("ada", (tx) => pushUpdate(tx, key, authors[index]?.type(letter) ?? new Uint8Array()));
        }
      }),
    );
    await eventually(async () => (await inbox(t.db)).length === 0);
    for (const key of keys) {
      expect(await storedText(t.db, key)).toBe("abcdefgh");
      const rows = await t.db.query<{ pushed_seq: number }>(
        "select pushed_seq from perch.document_updates where record_id = $1 order by seq",
        [key.recordId],
      );
      const pushed = rows.map((row) => row.pushed_seq);
      expect(pushed).toHaveLength(8);
      expect(pushed).toEqual([...pushed].sort((a, b) => a - b));
    }
    for (const key of keys) await eventually(async () => (await record(t.db, key))?.body === "abcdefgh");
    for (const { warnings } of nodes) expect(warnings).toEqual([]);
  });

  it("bring each other's edits to their readers, whatever the way they came", async () => {
    const t = await open();
    await declare(t);
    const key = keyOf(freshId());
    const [one, two] = [await startWorkerNode(t), await startWorkerNode(t)];
    const [ada, bob] = [await connect(one, key), await connect(two, key)];
    await ada.type("client ");
    await eventually(() => bob.text() === "client ");
    await t.asUser("ada", (tx) => patchDocument(tx, key, { body: "client patch" }));
    await eventually(() => ada.text() === "client patch" && bob.text() === "client patch");
    await Promise.all([ada.type("!"), bob.type("?", 0)]);
    await eventually(() => ada.text() === "?client patch!" && bob.text() === "?client patch!");
    await eventually(async () => (await record(t.db, key))?.body === "?client patch!");
  });

  it("hear of everything by their poll when no notification comes at all", async () => {
    const t = await open();
    await declare(t);
    const key = keyOf(freshId());
    const quiet = { deaf: true, settings: { pollMs: 50 } };
    const [one, two] = [await startWorkerNode(t, quiet), await startWorkerNode(t, quiet)];
    const [ada, bob] = [await connect(one, key), await connect(two, key)];
    await ada.type("unheard");
    await t.asUser("ada", (tx) => patchDocument(tx, key, { title: "of" }));
    await eventually(() => bob.text() === "unheard" && bob.doc.getMap("fields").get("title") === "of");
    await eventually(() => ada.doc.getMap("fields").get("title") === "of");
    await eventually(async () => (await record(t.db, key))?.title === "of");
  });

  it("project a document once, though both write to it", async () => {
    const t = await open();
    await declare(t);
    const key = keyOf(freshId());
    const [one, two] = [await startWorkerNode(t), await startWorkerNode(t)];
    const [ada, bob] = [await connect(one, key), await connect(two, key)];
    for (let letter = 0; letter < 40; letter++) {
      await Promise.all([ada.type("a"), bob.type("b")]);
      await pause(10);
    }
    await eventually(async () => String((await record(t.db, key))?.body).length === 80);
    // Whatever was due on either before these has been made.
    for (const node of [one, two]) {
      const after = await connect(node, keyOf(freshId()));
      await after.type("y");
      await eventually(async () => (await record(t.db, after.document.key)) !== undefined);
    }
    await eventually(async () => (await t.db.query("select from perch.document_queue")).length === 0);
    const rows = await t.db.query("select from perch.documents where projected_seq is distinct from merged_seq");
    expect(rows).toEqual([]);
  });

  it("take over what a killed one has begun, and lose nothing", async () => {
    const t = await open();
    await declare(t);
    const processes = [await startProcess(t), await startProcess(t)];
    const key = keyOf(freshId());
    const author = replica();
    let pushed = "";
    for (let round = 0; round < 40; round++) {
      const letter = String.fromCharCode(97 + (round % 26));
      await t.asUser("ada", (tx) => pushUpdate(tx, key, author.type(letter)));
      pushed += letter;
      if (round === 12) await processes[0]?.kill();
      if (round === 20) processes.push(await startProcess(t));
      if (round === 28) await processes[1]?.kill();
    }
    await eventually(async () => (await record(t.db, key))?.body === pushed);
    expect(await storedText(t.db, key)).toBe(pushed);
    expect(await inbox(t.db)).toEqual([]);
  });
});

describe("a worker whose database comes and goes", () => {
  it("catches up with what happened while its connections were cut", async () => {
    const t = await open();
    await declare(t);
    const worker = await t.login("perch_worker");
    const node = await startWorkerNode(t, { db: worker, settings: { pollMs: 60_000 } });
    const key = keyOf(freshId());
    const reader = await connect(node, key);
    const [{ name } = { name: "" }] = await worker.query<{ name: string }>("select current_user as name");
    // From now on it cannot come back, until it is let in again.
    await t.db.query(`alter role ${name} nologin`);
    await t.db.query("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", [name]);
    await eventually(() => !node.worker.listening());
    await t.asUser("ada", (tx) => pushUpdate(tx, key, replica().type("meanwhile")));
    expect(node.worker.listening()).toBe(false);
    expect(reader.text()).toBe("");
    await t.db.query(`alter role ${name} login`);
    await eventually(() => reader.text() === "meanwhile");
    expect(node.worker.listening()).toBe(true);
  });

  it("closes within its time while a document cannot be reached, and at once when nothing is under way", async () => {
    const t = await open();
    await declare(t);
    const node = await startWorkerNode(t, { settings: { closeMs: 500 } });
    const key = keyOf(freshId());
    const client = await connect(node, key);
    await client.type("x");
    const held = node.db.hold(/project_document/, "before");
    await held;
    // It does not wait for what goes on only after it.
    await node.worker.close();
    node.db.go();
    await eventually(async () => (await record(t.db, key)) !== undefined);

    const idle = await startWorkerNode(t, { settings: { closeMs: 600_000 } });
    await idle.worker.close();
  });
});
