import { afterEach, expect, it } from "vitest";
import { examine } from "../../src/cli/doctor-checks.js";
import { commits, notificationQueue, settings } from "../../src/cli/doctor-sessions.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database } from "../../src/database/types.js";
import { describeBothKinds, describeEachPostgres } from "../support/databases.js";
import { startPostgresServer } from "../support/postgres-server.js";
import { until } from "../support/until.js";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});
const opened = (url: string | undefined, poolSize = 10): Database => {
  const db = openPostgres({ url: url ?? "", poolSize, onError: () => undefined });
  closers.push(() => db.close());
  return db;
};

describeBothKinds("perch doctor on sessions", (open) => {
  it("finds nothing on a usual one", async () => {
    const t = await open();
    for (const check of [settings, commits, notificationQueue]) {
      expect((await check(t.db)).map(({ level }) => level)).toEqual(["ok"]);
    }
  });
});

describeEachPostgres("perch doctor where something holds what it asks for", (open) => {
  it("says so after a while, and what there is to be said besides", async () => {
    const t = await open();
    let release = () => {};
    const asked = new Promise<void>((resolve) => {
      release = resolve;
    });
    const other = opened(t.url, 1);
    const held = new Promise<void>((resolve) => {
      closers.push(() => release());
      void other.transaction(async (tx) => {
        await tx.query("lock table perch.document_inbox");
        resolve();
        await asked;
      });
    });
    await held;
    const findings = await examine(opened(t.url), { checkMs: 1_000 });
    expect(findings.find(({ name }) => name === "pending")).toMatchObject({
      level: "error",
      detail: expect.stringContaining("did not answer"),
      remedy: expect.stringContaining("pg_stat_activity"),
    });
    expect(findings.map(({ name }) => name)).toEqual(expect.arrayContaining(["server", "login", "history"]));
  });
});

describeEachPostgres("perch doctor on a login with settings of its own", (open) => {
  it("names each of them, and what changes it", async () => {
    const t = await open();
    const name = new URL(t.url ?? "").pathname.slice(1);
    for (const [setting, value] of [
      ["bytea_output", "escape"],
      ["DateStyle", "German"],
      ["default_transaction_isolation", "serializable"],
      ["default_transaction_read_only", "on"],
    ]) {
      await t.db.query(`alter database ${name} set ${setting} = '${value}'`);
    }
    const findings = await settings(opened(t.url));
    expect(findings.map(({ level, detail }) => [level, detail.split(";")[0]])).toEqual([
      ["warning", "bytea_output is escape"],
      ["warning", "DateStyle is German, DMY"],
      ["warning", "default_transaction_isolation is serializable"],
      ["error", "postgres takes no writes: default_transaction_read_only is on"],
    ]);
    expect(findings.every(({ remedy }) => remedy?.startsWith('alter role "postgres" reset '))).toBe(true);
  });
});

it("sees commits that wait for a standby, and a queue of notifications that fills", async () => {
  const server = await startPostgresServer({ settings: { synchronous_commit: "on", max_notify_queue_pages: "64" } });
  closers.push(() => server.close());
  const db = opened(server.url());
  await db.query("create table written (n int)");
  const listener = opened(server.url(), 1);
  await listener.query("listen somewhere");
  let release = () => {};
  const asked = new Promise<void>((resolve) => {
    release = resolve;
  });
  const stuck = listener.transaction(async (tx) => {
    await tx.query("select 1");
    await asked;
  });
  const level = async () => (await notificationQueue(db))[0]?.level;
  while ((await level()) === "ok")
    await db.query("select pg_notify('somewhere', repeat('x', 7000) || random()) from generate_series(1, 8)");
  expect(await level()).toBe("warning");
  release();
  await stuck;

  await db.query("alter system set synchronous_standby_names = 'nosuch'");
  await db.query("select pg_reload_conf()");
  while ((await db.query("select from pg_settings where setting = 'nosuch'")).length === 0);
  // Sessions hear of a setting one by one: until one waits.
  const writing = opened(server.url(), 1);
  const write = async (): Promise<void> => {
    await writing.query("insert into written values (1)");
    return write();
  };
  void write().catch(() => undefined);
  const finding = await until(async () => (await commits(db)).find(({ level }) => level !== "ok"));
  expect(finding).toMatchObject({ level: "error", remedy: expect.stringContaining("synchronous_standby_names") });
});
