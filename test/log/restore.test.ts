import { spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database, Queryable } from "../../src/database/types.js";
import { withContext } from "../../src/identity/index.js";
import { describeEachPostgres, type TestDatabase } from "../support/databases.js";
import { type Cursor, insert, type Page, pull, push } from "./support.js";

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
async function backUp(t: TestDatabase): Promise<() => Promise<Database>> {
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
      "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
    );
    await admin.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${new URL(url).pathname.slice(1)}'`,
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

describeEachPostgres("A database restored from a backup", (open) => {
  it("holds the log and the records, and with a new epoch takes no cursor from before for its own", async () => {
    const t = await open();
    const asAda = <T>(db: Database, work: (tx: Queryable) => Promise<T>) =>
      withContext(db, { userId: "ada" }, (tx) => work(tx));
    const pullAll = (db: Database, cursor: Cursor) => asAda(db, (tx) => pull(tx, { cursor }));
    const pushOne = (db: Database, id: string) => asAda(db, (tx) => push(tx, [insert(id, { made: id })]));
    const records = (db: Database) =>
      asAda(db, (tx) => tx.query("select record_id, data, seq from perch.records order by 1"));

    for (const id of ["a", "b", "c"]) await pushOne(t.db, id);
    const before = await pullAll(t.db, {});
    const kept = await records(t.db);
    const restore = await backUp(t);
    const original = await t.connect();
    for (const id of ["lost 1", "lost 2"]) await pushOne(original, id);
    const ahead = await pullAll(original, before.cursor);
    expect(ahead.changes.map((entry) => entry.seq)).toEqual([4, 5]);

    const restored = await restore();
    expect(await records(restored)).toEqual(kept);
    await expect(pullAll(restored, ahead.cursor)).rejects.toMatchObject({
      code: "PE410",
      detail: { spaces: [{ space_id: "~ada", reason: "ahead", latest_seq: 3 }] },
    });

    // What the DBA does, before anybody writes. Soon the numbers fit again, but they are other changes.
    await restored.query("select perch.new_epoch()");
    for (const id of ["other 1", "other 2", "other 3"]) await pushOne(restored, id);
    for (const { cursor } of [before, ahead] satisfies Page[]) {
      await expect(pullAll(restored, cursor)).rejects.toMatchObject({
        code: "PE410",
        detail: { spaces: [{ space_id: "~ada", reason: "epoch" }] },
      });
    }
    const [snapshot] = await asAda(restored, (tx) =>
      tx.query<{ page: { records: { id: string }[]; cursor: Cursor } }>(
        "select perch.snapshot_records(app_id => 'todo') as page",
      ),
    );
    expect(snapshot?.page.records.map((record) => record.id).toSorted()).toEqual([
      "a",
      "b",
      "c",
      "other 1",
      "other 2",
      "other 3",
    ]);
    await pushOne(restored, "after");
    const onwards = await pullAll(restored, snapshot?.page.cursor ?? {});
    expect(onwards.changes.map((entry) => [entry.seq, entry.id])).toEqual([[7, "after"]]);
  });
});
