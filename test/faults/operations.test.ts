/** Runs the commands of docs/operations.md, in their order, on a server of its own. */
import { spawnSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { perchProcess } from "../../scripts/support/perch-process.js";
import { requireKnownEnvironment, serveSettings } from "../../src/cli/settings.js";
import { packageRoot } from "../../src/database/package-root.js";
import type { Database } from "../../src/database/types.js";
import { readBlocks } from "../support/blocks.js";
import { durable, type PostgresVersion, postgresBinaries, startPostgresServer } from "../support/postgres-server.js";
import { perchMain, runProgram } from "../support/processes.js";
import { asLogin, openQuietly, readiness, until } from "./support.js";

/** The version of Postgres's own tools on this machine; undefined when there are none. */
function toolsVersion(): number | undefined {
  const versions = ["pg_dump", "pg_restore", "createdb"].map((tool) => {
    const { status, stdout } = spawnSync(tool, ["--version"], { encoding: "utf8" });
    return status === 0 ? Number(/ (\d+)/.exec(stdout)?.[1]) : 0;
  });
  return Math.min(...versions) || undefined;
}

const tools = toolsVersion();
const needsTools = /\b(pg_dump|pg_restore|createdb)\b/;
/** A server that these tools can read, where there is one; they are not in the package that brings Postgres 18. */
const version: PostgresVersion = tools === 15 && postgresBinaries(15) ? 15 : 18;
const canDump = tools !== undefined && tools >= version;
if (!canDump) console.warn("pg_dump is not installed here, or too old: its lines in docs/operations.md are not run");

it("docs/operations.md can be followed to the letter", async () => {
  const folder = await mkdtemp(join(tmpdir(), "perch-operations-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const bin = join(folder, "bin");
  await mkdir(bin);
  await writeFile(join(bin, "perch"), `#!/bin/sh\nexec "${process.execPath}" "${perchMain}" "$@"\n`);
  await chmod(join(bin, "perch"), 0o755);

  const server = await startPostgresServer({
    version,
    settings: durable,
  });
  onTestFinished(() => server.close());
  const admin = openQuietly(server.url());
  onTestFinished(() => admin.close());
  await admin.query("create database app");
  const db = openQuietly(server.url("app"));
  onTestFinished(() => db.close());
  const env = {
    PATH: `${bin}${delimiter}${process.env.PATH}`,
    BACKUP_URL: server.url("app"),
    MIGRATOR_URL: asLogin(server.url("app"), "app_migrator"),
    DATABASE_URL: asLogin(server.url("app"), "app_worker"),
    RESTORED_URL: server.url("restored"),
  };

  const blocks = readBlocks(await readFile(join(packageRoot, "docs", "operations.md"), "utf8"), [
    ...["sh", "sql", "ini"],
  ]);
  expect(blocks.length).toBeGreaterThan(12);
  for (const { language, text, line } of blocks) {
    await prepared(db, text);
    if (language === "sql") {
      for (const statement of text.split(/;\n/).filter((each) => each.trim() !== "")) {
        await db.query(statement).catch((error: unknown) => {
          throw new Error(`line ${line}: ${String(error)}`, { cause: error });
        });
      }
    } else if (language === "ini") {
      // Of a service: what it sets are settings, and of use together.
      const variables = Object.fromEntries(
        [...text.matchAll(/\b(DATABASE_URL|PERCH_\w+)=(\S+)/g)].map(([, name = "", value = ""]) => [name, value]),
      );
      expect(Object.keys(variables)).not.toEqual([]);
      expect(() => serveSettings({}, { PERCH_JWT_SECRET: "s".repeat(32), ...variables }), `line ${line}`).not.toThrow();
      expect(() => requireKnownEnvironment(variables), `line ${line}`).not.toThrow();
    } else if (!needsTools.test(text) || canDump) {
      const result = await runProgram("sh", ["-e", "-c", text], { cwd: folder, env });
      expect(result, `line ${line}: ${result.stdout}${result.stderr}`).toMatchObject({ code: 0 });
    }
  }

  // What the page did has come to what it says.
  expect(await db.query("select app_id, table_name from perch.document_tables")).toEqual([
    { app_id: "notes", table_name: "pages" },
  ]);
  const [lease] = await db.query<{ holder: string | null }>("select holder from perch.thread_leases");
  expect(lease).toEqual({ holder: null });
  const [aside] = await db.query<{ count: number }>(
    "select count(*) as count from perch.document_inbox where status = 'rejected'",
  );
  expect(aside?.count).toBe(0);
  if (canDump) {
    const restored = openQuietly(server.url("restored"));
    onTestFinished(() => restored.close());
    expect(await restored.query("select data ->> 'title' as title from perch.records")).toEqual([
      { title: "Buy milk" },
    ]);
  }

  const worker = await perchProcess({ args: ["worker"], env: { DATABASE_URL: env.DATABASE_URL } });
  onTestFinished(() => worker.kill());
  await worker.start();
  await until(async () => (await readiness(worker.httpUrl)).status === 200, "the worker is ready");
  const metrics = await (await fetch(`${worker.httpUrl}/metrics`)).text();
  const page = await readFile(join(packageRoot, "docs", "operations.md"), "utf8");
  for (const [name] of page.matchAll(/\b(?:perch_(?!owner|app\b|worker\b)|process_)[a-z_]+\b/g)) {
    expect(metrics, `${name} of docs/operations.md`).toContain(`# TYPE ${name} `);
  }
});

it("docs/operations.md names only settings that there are", async () => {
  const page = await readFile(join(packageRoot, "docs", "operations.md"), "utf8");
  const help = await runProgram(process.execPath, [perchMain, "worker", "--help"]);
  for (const [name] of page.matchAll(/\bPERCH_[A-Z_]+\b/g)) expect(help.stdout).toContain(`  ${name} `);
});

/** What is there before somebody needs the command: something to dump and to export, a lease, an update that was set aside. */
async function prepared(db: Database, text: string): Promise<void> {
  if (text.includes("pg_dump")) {
    await db.transaction(async (tx) => {
      await tx.query("select perch.set_context(user_id => 'ann')");
      await tx.query(`select perch.push(app_id => 'demo', client_id => 'c', changes =>
        '[{"op": "insert", "table": "tasks", "id": "t1", "data": {"title": "Buy milk"}}]')`);
    });
  }
  if (text.includes("release_lease")) {
    await db.transaction(async (tx) => {
      await tx.query("select perch.set_tenant(tenant_id => 'agents')");
      await tx.query("select perch.acquire_lease(thread_id => 'run-1', holder => 'dead', duration => '1 day')");
    });
  }
  if (text.includes("'rejected' order by")) {
    await db.transaction(async (tx) => {
      await tx.query("select perch.set_context(user_id => 'ann')");
      await tx.query(`select perch.patch_document('notes', 'pages', 'p1', '{"body": "x"}')`);
    });
    await db.query(
      `select perch.finish_inbox('~ann', 'notes', 'pages', 'p1', 1, null, '{"code": "PE422", "message": "invalid: no"}')`,
    );
  }
}
