import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { perchProcess } from "../../scripts/support/perch-process.js";
import { migrationStatus } from "../../src/database/migration-status.js";
import { openDatabase } from "../../src/database/open.js";
import { packageRoot } from "../../src/database/package-root.js";
import { withContext } from "../../src/identity/index.js";
import { follow, push } from "../../src/log/index.js";
import { emptyDatabase } from "../support/databases.js";
import { runProgram } from "../support/processes.js";
import { pause } from "../support/until.js";

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), "perch-open-"));
});
afterAll(() => rm(cwd, { recursive: true, force: true }));

const module = (name: string) => JSON.stringify(pathToFileURL(join(packageRoot, "dist", name)).href);
/** A program of a user's, in the folder, without a database URL of the developer's own. */
const runUser = (code: string) =>
  runProgram(
    process.execPath,
    ["--input-type=module", "-e", `import * as perch from ${module("index.js")};\n${code}`],
    {
      cwd,
    },
  );

describe("openDatabase", () => {
  it("makes the embedded database where there is none, ready for use, and lets the process end once it is closed", async () => {
    const task = `{ op: "insert", table: "tasks", id: "t1", data: { done: false } }`;
    const used = await runUser(`
      const db = await perch.openDatabase();
      await perch.withContext(db, { userId: "ann" }, (tx) => perch.push(tx, { appId: "demo", changes: [${task}] }));
      const store = new perch.DocumentStore();
      const following = perch.follow(db, { appId: "demo", context: { userId: "ann" } });
      console.log((await following.next()).value.changes.length);
      await following[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
      await db[Symbol.asyncDispose]();
      await db.close();
    `);
    expect(used).toEqual({ code: 0, stdout: "1\n", stderr: "" });
    expect(await readdir(cwd)).toEqual([".perch"]);
  });

  it("brings a database in memory up to date, and nothing else where that is not wanted", async () => {
    const db = await openDatabase("memory:");
    expect((await migrationStatus(db)).pending).toEqual([]);
    await db.close();
    const bare = await openDatabase({ url: "memory:", migrate: false });
    expect((await migrationStatus(bare)).applied).toEqual([]);
    await bare.close();
  });

  it("brings a folder up to date that is there already", async () => {
    const dataDir = join(cwd, "older");
    const older = await openDatabase({ dataDir });
    await older.query("drop function perch.log_position()");
    await older.close();
    const db = await openDatabase({ dataDir });
    expect(await db.query("select to_regproc('perch.log_position') is not null as there")).toEqual([{ there: true }]);
    await db.close();
  });

  it("leaves a server to its DBA, and says how it is brought up to date", async () => {
    const db = await openDatabase(await emptyDatabase());
    onTestFinished(() => db.close());
    const context = withContext(db, { userId: "ann" }, async () => undefined);
    await expect(context).rejects.toThrow("perch migrate up");
    await expect(db.query("select * from perch.records")).rejects.toThrow("perch migrate up");
    await expect(db.query("select perch.set_tenant(tenant_id => 'acme')")).rejects.toThrow("perch migrate up");
    // What has nothing to do with perch is left as it is.
    await expect(db.query("select * from nothing")).rejects.toThrow(/^relation "nothing" does not exist$/);
  });

  it("goes through the process that serves the folder, also when that is only just starting", async () => {
    const perch = await perchProcess({ cwd });
    onTestFinished(() => perch.kill());
    const starting = perch.start();
    // Somebody has the folder from here on, and no socket yet.
    await expect
      .poll(() => readdir(join(cwd, ".perch")), { interval: 2, timeout: 60_000 })
      .toContainEqual(expect.stringMatching(/^lock/));
    const db = await openDatabase({ dataDir: join(cwd, ".perch") });
    onTestFinished(() => db.close());
    await starting;

    const events = follow(db, { appId: "demo", context: { userId: "bob" } });
    const body = { app_id: "demo", changes: [{ op: "insert", table: "tasks", id: "t1", data: { by: "http" } }] };
    const headers = { authorization: "Bearer bob", "content-type": "application/json" };
    const answer = await fetch(`${perch.httpUrl}/v1/push`, { method: "POST", headers, body: JSON.stringify(body) });
    expect(answer.status).toBe(200);
    expect((await events.next()).value).toMatchObject({ changes: [{ id: "t1", data: { by: "http" } }] });
    await withContext(db, { userId: "bob" }, (tx) =>
      push(tx, { appId: "demo", changes: [{ op: "update", table: "tasks", id: "t1", data: { by: "sql" } }] }),
    );
    expect((await events.next()).value).toMatchObject({ changes: [{ data: { by: "sql" } }] });
    await events.return?.();
    await expect(openDatabase({ dataDir: join(cwd, ".perch"), share: false })).rejects.toThrow(/in use by process/);
    await db.close();
    expect((await perch.stop()).code).toBe(0);
  });

  it("begins anew where a process was killed while it made the database", async () => {
    for (const afterMs of [0, 20, 60, 150]) {
      const folder = join(cwd, `killed-${afterMs}`);
      const perch = await perchProcess({ cwd, args: ["start", "--database-url", `pglite:${folder}`] });
      onTestFinished(() => perch.kill());
      const starting = perch.start().catch(() => undefined);
      await expect
        .poll(() => readdir(join(folder, "postgres")).catch(() => []), { interval: 1, timeout: 60_000 })
        .not.toEqual([]);
      await pause(afterMs);
      await perch.kill();
      await starting;
      const db = await openDatabase({ dataDir: folder });
      expect((await migrationStatus(db)).pending).toEqual([]);
      await db.close();
      expect(await readdir(folder)).toEqual(["postgres"]);
    }
  });
});
