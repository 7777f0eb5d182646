import { spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished } from "vitest";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database } from "../../src/database/types.js";
import type { TestDatabase } from "./databases.js";

function sibling(url: string, name: string): string {
  const changed = new URL(url);
  changed.pathname = `/${name}`;
  return changed.href;
}

/** Whether this machine's pg_dump is as new as the server it is to read. */
async function canDump(db: Database): Promise<boolean> {
  const { status, stdout } = spawnSync("pg_dump", ["--version"], { encoding: "utf8" });
  const [server] = await db.query<{ major: number }>(
    "select current_setting('server_version_num')::int / 10000 as major",
  );
  return status === 0 && Number(/ (\d+)/.exec(stdout)?.[1]) >= (server?.major ?? 0);
}

/**
 * A backup of the database as it is now. Out: restores it into a new database. With pg_dump and psql where they are installed and new
 * enough; elsewhere as a copy that the server makes, which holds the same rows.
 */
export async function backUp(t: TestDatabase): Promise<() => Promise<Database>> {
  const url = t.url ?? "";
  const admin = openPostgres({ url: sibling(url, "postgres"), poolSize: 1 });
  const name = `restored_${new URL(url).pathname.slice(1)}`;
  onTestFinished(async () => {
    await admin.query(`drop database if exists ${name} with (force)`);
    await admin.query(`drop database if exists ${name}_backup with (force)`);
    await admin.close();
  });
  const opened = (database: string) => {
    const db = openPostgres({ url: sibling(url, database) });
    onTestFinished(() => db.close());
    return db;
  };
  if (!(await canDump(t.db))) {
    await t.db.query(
      "select pg_terminate_backend(pid, 60000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
    );
    await admin.query(
      `select pg_terminate_backend(pid, 60000) from pg_stat_activity where datname = '${new URL(url).pathname.slice(1)}'`,
    );
    await admin.query(`create database ${name}_backup template ${new URL(url).pathname.slice(1)}`);
    return async () => {
      await admin.query(`create database ${name} template ${name}_backup`);
      return opened(name);
    };
  }
  const folder = await mkdtemp(join(tmpdir(), "perch-backup-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const file = join(folder, "backup.sql");
  const dumped = spawnSync("pg_dump", ["--file", file, url], { encoding: "utf8" });
  expect(dumped).toMatchObject({ status: 0, stderr: "" });
  return async () => {
    await admin.query(`create database ${name} template template0`);
    const restored = spawnSync("psql", ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", file, sibling(url, name)], {
      encoding: "utf8",
    });
    expect(restored).toMatchObject({ status: 0, stderr: "" });
    return opened(name);
  };
}
