import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { openAuthor } from "../../scripts/demo/author.js";
import { readStored } from "../../scripts/demo/document.js";
import { embeddedUrl } from "../../scripts/demo/stage.js";
import { freePort } from "../../scripts/support/free-port.js";
import { type PerchProcess, type PerchProcessOptions, perchProcess } from "../../scripts/support/perch-process.js";
import { userToken, workerSecret } from "../../scripts/support/user-token.js";
import { openPglite } from "../../src/database/pglite.js";
import { openPostgres } from "../../src/database/postgres.js";
import { emptyDatabase, postgres } from "../support/databases.js";
import { runPerch, runProgram } from "../support/processes.js";
import { until } from "../support/until.js";

/** A perch that does not outlive its test, however that ends. */
async function testPerch(options: PerchProcessOptions): Promise<PerchProcess> {
  const perch = await perchProcess(options);
  onTestFinished(() => perch.kill());
  return perch;
}

/** What stands below "Try", run as somebody runs it who pastes it. */
function pasted(output: string, cwd: string, env: NodeJS.ProcessEnv = {}) {
  const [, lines = ""] = /^Try.*:\n([\s\S]*?)^Ctrl-C/m.exec(output) ?? [];
  expect(lines).not.toBe("");
  return runProgram("sh", ["-ec", lines], { cwd, env });
}

/** As for somebody who does not start it through npm. */
const directly = { npm_command: undefined } as unknown as Record<string, string>;

describe("perch start on the embedded database", () => {
  let cwd: string;
  beforeAll(async () => {
    cwd = await mkdtemp(join(tmpdir(), "perch-start-"));
  });
  afterAll(() => rm(cwd, { recursive: true, force: true }));

  it("loads nothing more once it serves: whoever asks first would keep everybody else waiting for it", async () => {
    const own = await mkdtemp(join(tmpdir(), "perch-loads-"));
    onTestFinished(() => rm(own, { recursive: true, force: true }));
    const hooks =
      "export async function resolve(name, context, next) { process._rawDebug('loads ' + name); return next(name, context); }";
    const register = `import { register } from "node:module"; register("data:text/javascript," + ${JSON.stringify(encodeURIComponent(hooks))});`;
    const perch = await testPerch({
      cwd: own,
      nodeArgs: ["--import", `data:text/javascript,${encodeURIComponent(register)}`],
    });
    await perch.start();
    const loads = () => perch.output.split("\n").filter((line) => line.startsWith("loads "));
    const before = loads();
    expect(before).toContain("loads pg");
    const table = "create table tasks (id text primary key, owner text, title text)";
    expect(await runPerch(["sql", table], { cwd: own })).toMatchObject({ code: 0 });
    const asAnn = { headers: { authorization: "Bearer ann", "content-type": "application/json" } };
    const shape = await fetch(`${perch.httpUrl}/v1/shape?table=tasks&offset=-1&where=title+%3D+%27a%27`, asAnn);
    expect({ status: shape.status, body: await shape.text() }).toMatchObject({ status: 200 });
    const changes = [{ op: "insert", table: "tasks", id: "t", data: {} }];
    const body = JSON.stringify({ app_id: "demo", client_id: "c", changes });
    expect((await fetch(`${perch.httpUrl}/v1/push`, { method: "POST", body, ...asAnn })).status).toBe(200);
    expect(loads()).toEqual(before);
  });

  it("says what it did, where to connect, and one line to try, which works", async () => {
    const perch = await testPerch({ cwd, env: directly });
    await perch.start();
    await expect.poll(() => perch.output).toContain("Ctrl-C stops it.");
    expect(perch.output).toContain(`embedded, in ${join(cwd, ".perch")} (up to date`);
    expect(perch.output).toContain(perch.url);
    expect(await pasted(perch.output, cwd)).toMatchObject({ code: 0, stdout: expect.stringContaining('"seq": 1') });
    const [, sql = ""] = /SQL +(\S.*) "select …"/.exec(perch.output) ?? [];
    const found = await runProgram("sh", ["-c", `${sql} "select record_id from perch.stored_records"`], { cwd });
    expect(found).toMatchObject({ code: 0, stdout: expect.stringContaining("\n t1\n") });

    const second = await runPerch(["start", "--port", String(await freePort())], { cwd });
    expect(second.code).toBe(1);
    expect(second.stderr).toMatch(/\.perch is in use by process \d+; stop it first/);

    expect((await perch.stop()).code).toBe(0);
    const again = await testPerch({ cwd });
    await again.start();
    await expect.poll(() => again.output).toContain("(up to date)");
    expect((await again.stop()).code).toBe(0);
  });

  it("says how to make a token where there is a secret, in lines that work when pasted", async () => {
    const secret = { PERCH_JWT_SECRET: "a-secret-of-more-than-thirty-two-bytes" };
    const perch = await testPerch({ cwd, env: { ...directly, ...secret } });
    await perch.start();
    await expect.poll(() => perch.output).toContain("Ctrl-C stops it.");
    expect(await pasted(perch.output, cwd, secret)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('"status": "applied"'),
    });
    // Nothing that lets anybody in is printed, nor a token that would not.
    expect(perch.output).not.toContain(secret.PERCH_JWT_SECRET);
    expect(perch.output).not.toContain("eyJ");
    const without = await pasted(perch.output, cwd);
    expect(without).toMatchObject({ code: 2, stderr: expect.stringContaining("PERCH_JWT_SECRET is not set here") });
    expect((await perch.stop()).code).toBe(0);
  });

  it("loses nothing acknowledged when it is stopped in the middle of typing, and stops within 5 seconds", async () => {
    const perch = await testPerch({ cwd });
    await perch.start();
    const db = openPostgres({ url: embeddedUrl(join(cwd, ".perch")) });
    await db.query("select perch.declare_table(app_id => 'demo', table_name => 'notes', fields => $1::jsonb)", [
      JSON.stringify({ body: "text" }),
    ]);
    await db.close();
    const ann = await openAuthor({ url: perch.url, roomId: "/demo/notes/n1", token: "ann", field: "body" });
    ann.leaveWithServer();
    const typing = setInterval(() => ann.type([[0, 0, "x"]]), 1);
    await until(() => ann.acknowledged > 20);
    const { code, ms } = await perch.stop();
    clearInterval(typing);
    ann.leave();
    expect(code).toBe(0);
    expect(ms).toBeLessThan(5_000);
    expect(ann.acknowledged).toBeGreaterThan(0);

    const down = await openPglite({ dataDir: join(cwd, ".perch") });
    const place = { spaceId: "~ann", appId: "demo", tableName: "notes", recordId: "n1" };
    const { doc } = await readStored(down, place, "ann");
    await down.close();
    expect(doc.getText("body").length).toBeGreaterThanOrEqual(ann.acknowledged);
  });
});

describe("perch start, where it cannot", () => {
  let taken: Server;
  let port: number;
  beforeAll(async () => {
    taken = createServer();
    await new Promise<void>((done) => taken.listen(0, "127.0.0.1", done));
    port = (taken.address() as { port: number }).port;
  });
  afterAll(() => {
    taken.close();
  });

  const start = async (args: string[], env: Record<string, string> = {}) => {
    const cwd = await mkdtemp(join(tmpdir(), "perch-start-"));
    try {
      return await runPerch(["start", ...args], { cwd, env });
    } finally {
      await rm(cwd, { recursive: true, force: true });
    }
  };

  it("names the port that is in use, and leaves nothing running", async () => {
    const { code, stderr } = await start(["--port", String(port)]);
    expect(code).toBe(1);
    expect(stderr).toContain(`port ${port} on 127.0.0.1 is in use`);
  });

  it("names the database that does not answer, without its password", async () => {
    const nobody = await freePort();
    const url = `postgres://ann:secret@127.0.0.1:${nobody}/app`;
    const { code, stderr } = await start(["--port", "0"], { DATABASE_URL: url });
    expect(code).toBe(1);
    expect(stderr).toBe(`perch: cannot reach the database 127.0.0.1:${nobody}/app: nothing listens there\n`);
  });

  it("names every setting that is wrong", async () => {
    const { code, stderr } = await start(["--port", "99999"], { PERCH_LOG_LEVEL: "loud" });
    expect(code).toBe(2);
    expect(stderr).toContain("PERCH_PORT");
    expect(stderr).toContain("PERCH_LOG_LEVEL");
  });

  it("listens on loopback only in development mode", async () => {
    const { code, stderr } = await start(["--host", "0.0.0.0"]);
    expect(code).toBe(2);
    expect(stderr).toContain("loopback");
  });
});

describe("perch worker", () => {
  const open = postgres();
  const key = { PERCH_JWT_SECRET: workerSecret };

  it("refuses a database that was never migrated, and says what to do", async () => {
    const { code, stderr } = await runPerch(["worker", "--port", "0"], {
      env: { ...key, DATABASE_URL: await emptyDatabase() },
    });
    expect(code).toBe(1);
    expect(stderr).toContain("run: perch migrate up");
  });

  it("refuses a login that lacks the roles, and says what a DBA has to grant", async () => {
    const t = await open();
    await t.db.query("create role plain_login login");
    const url = new URL(t.url ?? "");
    url.username = "plain_login";
    const { code, stderr } = await runPerch(["worker", "--port", "0"], {
      env: { ...key, DATABASE_URL: url.href },
    });
    expect(code).toBe(1);
    expect(stderr).toContain('grant perch_worker, perch_app to "plain_login"');
    await t.db.query("drop role plain_login");
  });

  it("serves a migrated database as a login with nothing but the two roles, and takes updates of some megabytes", async () => {
    const t = await open();
    await t.db.query("select perch.declare_table(app_id => 'demo', table_name => 'notes', fields => $1::jsonb)", [
      JSON.stringify({ body: "text" }),
    ]);
    await t.db.query("create role serving_login login");
    await t.db.query("grant perch_worker, perch_app to serving_login");
    const url = new URL(t.url ?? "");
    url.username = "serving_login";
    const perch = await testPerch({ args: ["worker"], env: { DATABASE_URL: url.href } });
    await perch.start();
    const ben = await openAuthor({ url: perch.url, roomId: "/demo/notes/n1", token: userToken("ben"), field: "body" });
    ben.type([[0, 0, "hello"]]);
    await expect.poll(() => ben.acknowledged).toBe(5);
    await expect
      .poll(() => t.asUser("ben", (tx) => tx.query("select data from perch.records")))
      .toEqual([{ data: { body: "hello" } }]);
    // What was typed offline for a year comes as one update.
    const year = Array.from({ length: 250_000 }, () => Math.random().toString(36).slice(2, 7)).join("");
    ben.type([[0, 0, year]]);
    await expect.poll(() => ben.acknowledged).toBe(5 + year.length);
    ben.leaveWithServer();
    expect((await perch.stop()).code).toBe(0);
    await t.db.query("drop owned by serving_login");
    await t.db.query("drop role serving_login");
  });
});
