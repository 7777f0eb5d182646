import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { catalog, examine } from "../../src/cli/doctor-checks.js";
import { packageRoot } from "../../src/database/package-root.js";
import { openPostgres } from "../../src/database/postgres.js";
import { describeBothKinds, describeEachPostgres, emptyDatabase } from "../support/databases.js";
import { runPerch } from "../support/processes.js";

describeBothKinds("perch doctor", (open, engine) => {
  it("finds nothing wrong with a fresh database", async () => {
    const t = await open();
    const findings = await examine(t.db);
    // The tests' servers do not wait for the disk.
    const wrong = findings.filter(({ level }) => level === "error").map(({ name }) => name);
    expect(wrong).toEqual(engine === "PGlite" ? [] : ["durability"]);
    expect(findings.map(({ name }) => name)).toEqual([
      "server",
      "migrations",
      "catalog",
      "roles",
      "row level security",
      "login",
      "settings",
      "durability",
      "commits",
      ...(engine === "PGlite"
        ? []
        : ["standbys", "replication slots", "connections", "autovacuum", "transactions", "leases"]),
      "notifications",
      "notification queue",
      "inbox",
      "set aside",
      "records",
      "history",
      "upgrades",
    ]);
    expect(findings[0]?.detail).toContain(engine === "PGlite" ? "PGlite" : `PostgreSQL ${engine.slice(-2)}`);
  });

  it("lists what was set aside, and how to retry it", async () => {
    const t = await open();
    await t.db.query(`select perch.declare_table('notes', 'pages', '{"body": "text"}')`);
    await t.asUser("ada", (tx) =>
      tx.query("select perch.patch_document('notes', 'pages', 'it''s', '{\"body\": \"x\"}')"),
    );
    await t.asWorker((tx) =>
      tx.query(
        `select perch.finish_inbox('~ada', 'notes', 'pages', 'it''s', 1, null, '{"code": "PE422", "message": "invalid: no good"}')`,
      ),
    );
    const [finding] = (await examine(t.db)).filter(({ name }) => name === "set aside");
    expect(finding).toMatchObject({
      level: "warning",
      detail: "~ada notes pages it's, seq 1, by ada: invalid: no good",
    });
    const retry = /^(select .*\)), or/.exec(finding?.remedy ?? "")?.[1] ?? "";
    expect(await t.db.query<{ retry_update: boolean }>(retry)).toEqual([{ retry_update: true }]);
  });

  it("sees that the database is not the one that the log's epoch began on", async () => {
    const t = await open();
    const found = async () => (await examine(t.db)).find(({ name }) => name === "history");
    await t.asWorker((tx) => tx.query("select perch.check_history()"));
    expect(await found()).toMatchObject({ level: "ok" });
    await t.db.query("update perch.log_epoch set server = '1/00000001/1'");
    expect(await found()).toMatchObject({ level: "warning", remedy: expect.stringContaining("perch.new_epoch()") });
    await t.db.query("select perch.new_epoch()");
    expect(await found()).toMatchObject({ level: "ok" });
  });

  it("names records that an upgrade cannot lift, with its error", async () => {
    const t = await open();
    await t.asUser("ada", (tx) =>
      tx.query("select perch.push(app_id => 'todo', changes => $1::jsonb, client_id => null)", [
        JSON.stringify(["1", "abc"].map((n, id) => ({ op: "insert", table: "tasks", id: `t${id}`, data: { n } }))),
      ]),
    );
    await t.db.query(`
      create function public.to_2(change jsonb) returns jsonb language sql immutable
        return jsonb_set(change, '{data,n}', to_jsonb((change #>> '{data,n}')::integer))`);
    await t.db.query("grant execute on function public.to_2 to perch_owner");
    await t.db.query("select perch.register_upgrade('todo', 'tasks', 1, 'public.to_2(jsonb)')");
    await t.db.query("select perch.set_schema_version('todo', 'tasks', 2)");
    expect((await examine(t.db)).find(({ name }) => name === "upgrades")).toMatchObject({
      level: "warning",
      detail: expect.stringMatching(
        /^1 records of todo\/tasks .* ~ada t1: .*invalid input syntax for type integer: "abc"/,
      ),
    });
  });

  it("says when there is nothing to compare the catalog with", async () => {
    const t = await open();
    const root = await mkdtemp(join(tmpdir(), "perch-doctor-"));
    onTestFinished(() => rm(root, { recursive: true }));
    for (const folder of ["migrations", "sql"])
      await cp(join(packageRoot, folder), join(root, folder), { recursive: true });
    expect(await catalog(t.db, root)).toMatchObject([
      { level: "warning", detail: expect.stringMatching(/schema.txt/) },
    ]);
  });

  it("sees that no worker runs", async () => {
    const t = await open();
    await t.db.query(`select perch.declare_table('notes', 'pages', '{"body": "text"}')`);
    await t.asUser("ada", (tx) => tx.query("select perch.patch_document('notes', 'pages', 'p', '{\"body\": \"x\"}')"));
    await t.db.query("update perch.document_inbox set created_at = created_at - interval '1 minute'");
    expect((await examine(t.db)).find(({ name }) => name === "inbox")).toMatchObject({
      level: "warning",
      remedy: "start perch worker, or see its log",
    });
  });

  it("sees a table that row level security no longer binds", async () => {
    const t = await open();
    await t.db.query("alter table perch.sync_changes no force row level security");
    expect((await examine(t.db)).find(({ name }) => name === "row level security")).toMatchObject({
      level: "error",
      detail: "not forced on perch.sync_changes",
    });
  });
});

describeEachPostgres("perch doctor, the command", (open) => {
  it("warns of an application whose login sees everything, because it inherits the worker's rights", async () => {
    const t = await open();
    const app = await t.login("perch_app");
    const [login] = await app.query<{ name: string }>("select session_user::text as name");
    await t.db.query(`grant perch_worker to ${login?.name}`);
    const url = new URL(t.url ?? "");
    url.username = login?.name ?? "";
    const warned = async () => (await examine(t.db)).filter(({ name }) => name === "applications");
    // Perch's own processes are known by the name they give.
    expect(await warned()).toEqual([]);
    const other = openPostgres({ url: url.href, poolSize: 1, applicationName: "some app" });
    await other.query("select 1");
    expect(await warned()).toMatchObject([
      { level: "warning", detail: expect.stringContaining(login?.name ?? "none") },
    ]);
    await other.close();
  });

  it("prints a line a finding, or JSON, and tells by its exit code whether anything is wrong", async () => {
    const t = await open();
    const text = await runPerch(["doctor", "--database-url", t.url ?? ""]);
    // As the tests' servers do not wait for the disk; a database with nothing wrong is in doctor-server.test.ts.
    expect(text).toMatchObject({ code: 1, stderr: "" });
    expect(text.stdout.match(/^error.*$/gm)).toEqual([expect.stringContaining("durability: off: fsync")]);
    expect(text.stdout).toMatch(/^ok {7}migrations: up to date$/m);
    await t.db.query("drop schema perch cascade");
    const json = await runPerch(["doctor", "--json", "--database-url", t.url ?? ""]);
    expect(json.code).toBe(1);
    expect(
      json.stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).name),
    ).toEqual(["server", "schema"]);
  });
});

it("perch doctor says what to do with a database that was never migrated", async () => {
  const result = await runPerch(["doctor", "--database-url", await emptyDatabase()]);
  expect(result.code).toBe(1);
  expect(result.stdout).toContain("→ perch migrate up");
});
