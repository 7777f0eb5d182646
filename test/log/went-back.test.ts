/**
 * A database that came back without its last commits, as after a failover to an asynchronous standby: a copy of the data folder, taken
 * earlier, is started in place, and numbers are given out again. Nobody is told; nothing calls perch.new_epoch.
 */
import { execFileSync } from "node:child_process";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { migrate } from "../../src/database/migrate.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database } from "../../src/database/types.js";
import { withContext } from "../../src/identity/index.js";
import { type FollowEvent, follow } from "../../src/log/index.js";
import { cleanup, eventually } from "../documents/live/support.js";
import { startNode } from "../gateway/support.js";
import { openEvents } from "../http/support.js";
import { somePostgres, type TestDatabase } from "../support/databases.js";
import { type PostgresVersion, startPostgresServer } from "../support/postgres-server.js";
import { startWorkerNode } from "../worker/support.js";
import { type Cursor, insert, pullAll, push, type Snapshot } from "./support.js";

const ada = { userId: "ada" };
const asAda = <T>(db: Database, work: Parameters<typeof withContext<T>>[2]) => withContext(db, ada, work);
const pushMany = (db: Database, prefix: string, count: number) =>
  asAda(db, async (tx) => {
    for (let n = 0; n < count; n += 1) await push(tx, [insert(`${prefix}${n}`, { prefix })]);
  });
const pulled = async (db: Database, cursor: Cursor = {}) => {
  const page = await asAda(db, (tx) => pullAll(tx, { cursor, pageSize: 40 }));
  return { cursor: page.cursor, ids: page.changes.map(({ id }) => id) };
};
const epochOf = async (db: Database) =>
  (await db.query<{ epoch: string }>("select epoch from perch.log_epoch"))[0]?.epoch;
const ids = (prefix: string, count: number) => Array.from({ length: count }, (_, n) => `${prefix}${n}`);

const anotherHistory = {
  code: "PE410",
  detail: { spaces: [expect.objectContaining({ space_id: "~ada", reason: "epoch" })] },
};

interface Server {
  readonly db: Database;
  readonly t: TestDatabase;
  readonly data: string;
  stop(): Promise<void>;
  start(): Promise<void>;
  /** Keeps the folder as it is. */
  copy(): Promise<void>;
  /** Ends the server at once, and starts the copy in its place. */
  goBack(): Promise<void>;
  /** Another database of it. */
  open(name: string): Database;
}

/** What a node uses of the database it is given. */
const nodesOn = (db: Database) => ({ db, login: () => Promise.resolve(db) }) as unknown as TestDatabase;

async function start(version: PostgresVersion): Promise<Server> {
  const parent = await mkdtemp(join(tmpdir(), "perch-went-back-"));
  execFileSync("chmod", ["777", parent]);
  cleanup(() => rm(parent, { recursive: true, force: true }));
  const server = await startPostgresServer({ version, parent });
  cleanup(() => server.close());
  const [own] = await readdir(parent);
  const data = join(parent, own ?? "", "data");
  const open = (name: string) => {
    const db = openPostgres({ url: server.url(name), onError: () => undefined });
    cleanup(() => db.close());
    return db;
  };
  const db = open("postgres");
  await migrate(db);
  return {
    db,
    t: nodesOn(db),
    data,
    open,
    stop: () => server.stop(),
    start: () => server.start(),
    async copy() {
      await server.stop();
      execFileSync("cp", ["-a", data, `${data}-copy`]);
      await server.start();
    },
    async goBack() {
      await server.kill();
      execFileSync("rm", ["-rf", data]);
      execFileSync("cp", ["-a", `${data}-copy`, data]);
      await server.start();
    },
  };
}

const version = somePostgres();

describe(`A database that went back, on Postgres ${version}`, () => {
  it("gives a reader who is ahead of it no changes in silence, however many were made since; others read on", async () => {
    const server = await start(version);
    await pushMany(server.db, "kept", 100);
    const behind = await pulled(server.db);
    await server.copy();
    await pushMany(server.db, "lost", 50);
    const ahead = await pulled(server.db, behind.cursor);
    expect(ahead.ids).toEqual(ids("lost", 50));
    const half = await asAda(server.db, (tx) =>
      tx.query<{ page: Snapshot }>("select perch.snapshot_records(app_id => 'todo', page_size => 10) as page"),
    );

    const stop = new AbortController();
    cleanup(() => stop.abort());
    const followed: FollowEvent[] = [];
    void (async () => {
      const options = { appId: "todo", context: ada, cursor: ahead.cursor, signal: stop.signal, pollMs: 100 };
      for await (const event of follow(server.db, options)) followed.push(event);
    })();
    const node = await startNode(server.t, { env: { PERCH_RECHECK_MS: "200" } });
    const stream = await openEvents(node, `app_id=todo&cursor=${encodeURIComponent(JSON.stringify(ahead.cursor))}`);
    await stream.next();

    await server.goBack();
    const again = server.open("postgres");
    await pushMany(again, "other", 50);
    // As many as were lost: the numbers are the same.
    await expect(pulled(again, ahead.cursor)).rejects.toMatchObject(anotherHistory);
    await pushMany(again, "other, later ", 10);
    await expect(pulled(again, ahead.cursor)).rejects.toMatchObject(anotherHistory);
    expect((await pulled(again, behind.cursor)).ids).toEqual([...ids("other", 50), ...ids("other, later ", 10)]);
    const next = asAda(again, (tx) =>
      tx.query("select perch.snapshot_records(app_id => 'todo', page_size => 10, after => $1)", [half[0]?.page.next]),
    );
    await expect(next).rejects.toMatchObject(anotherHistory);

    await eventually(() => stream.events.some(({ event }) => event === "problem"));
    expect(stream.events.at(-1)?.data.error).toMatchObject({ code: "PE410" });
    await eventually(() => followed.some((event) => event.type === "snapshot" && event.last));
    expect(followed[0]).toMatchObject({ type: "resync", spaces: [{ space_id: "~ada" }] });
    const records = () => {
      const found = new Set<string>();
      for (const event of followed) {
        if (event.type === "snapshot") for (const { id } of event.records) found.add(id);
        if (event.type === "changes") for (const { id } of event.changes) found.add(id);
      }
      return found;
    };
    await eventually(() => records().size === 160);
    expect([...records()].some((id) => id.startsWith("lost"))).toBe(false);
  });

  it("is found out at the last entry that was forgotten, too", async () => {
    const server = await start(version);
    const prune = (db: Database) => db.query("select perch.prune_changes(keep_for => '0', keep_last => 0)");
    await pushMany(server.db, "kept", 3);
    await server.copy();
    await pushMany(server.db, "lost", 2);
    await prune(server.db);
    const { cursor } = await asAda(server.db, (tx) =>
      tx
        .query<{ page: Snapshot }>("select perch.snapshot_records(app_id => 'todo') as page")
        .then(([row]) => row?.page ?? { cursor: {} }),
    );
    expect((await pulled(server.db, cursor)).ids).toEqual([]);
    await server.goBack();
    const again = server.open("postgres");
    await pushMany(again, "other", 2);
    await prune(again);
    await expect(pulled(again, cursor)).rejects.toMatchObject(anotherHistory);
  });

  it("begins a new epoch by itself where a worker had read what is gone", async () => {
    const server = await start(version);
    await pushMany(server.db, "kept", 5);
    await server.copy();
    const node = await startWorkerNode(server.t, { settings: { pollMs: 50 } });
    const epoch = await epochOf(server.db);
    let pushed = 0;
    let looks = 0;
    // Until the worker has heard of one, and read how far the log has come: the second look comes after the first was answered.
    await eventually(async () => {
      await pushMany(server.db, `lost${pushed++}-`, 1);
      looks += node.db.counted().log_heads ?? 0;
      return looks >= 2;
    });
    await server.goBack();
    const again = server.open("postgres");
    await pushMany(again, "other", pushed + 10);
    await eventually(async () => (await epochOf(again)) !== epoch);
    await eventually(() => node.warnings.some(({ details }) => details.reason === "entries"));
    // One, however often it looks.
    const renewed = await epochOf(again);
    const [row] = await again.query<{ reason: string | null }>("select perch.check_history() as reason");
    expect(row?.reason).toBeNull();
    expect(await epochOf(again)).toBe(renewed);
  });

  it("begins a new epoch by itself on another timeline, and as another database, before its worker listens", async () => {
    const server = await start(version);
    const first = await startWorkerNode(server.t);
    const epoch = await epochOf(server.db);
    await pushMany(server.db, "kept", 3);
    const { cursor } = await pulled(server.db);
    await first.worker.close();

    // A crash and a restart are no new history.
    await server.stop();
    await server.start();
    const restarted = await startWorkerNode(nodesOn(server.open("postgres")));
    expect(await epochOf(server.open("postgres"))).toBe(epoch);
    expect((await pulled(server.open("postgres"), cursor)).ids).toEqual([]);
    await restarted.worker.close();

    await server.stop();
    await writeFile(join(server.data, "standby.signal"), "");
    await server.start();
    const promoted = server.open("postgres");
    await promoted.query("select pg_promote()");
    await startWorkerNode(nodesOn(promoted));
    const second = await epochOf(promoted);
    expect(second).not.toBe(epoch);
    await expect(pulled(promoted, cursor)).rejects.toMatchObject(anotherHistory);

    const admin = server.open("template1");
    await eventually(async () => {
      await admin.query("select pg_terminate_backend(pid) from pg_stat_activity where datname = 'postgres'");
      return admin.query("create database copy template postgres").then(
        () => true,
        // Somebody is there again.
        (error: { code?: string }) => error.code !== "55006",
      );
    });
    const copy = server.open("copy");
    await startWorkerNode(nodesOn(copy));
    expect(await epochOf(copy)).not.toBe(second);
  });
});
