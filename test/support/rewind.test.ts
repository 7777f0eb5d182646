import { readFile } from "node:fs/promises";
import { expect, it, onTestFinished, vi } from "vitest";
import { openPglite } from "../../src/database/pglite.js";
import { pglite, template } from "./databases.js";
import { fakeClock } from "./fake-clock.js";
import { remember } from "./rewind.js";

async function fresh() {
  const db = await openPglite({ template: { image: async () => readFile(await template("pglite")) } });
  onTestFinished(() => db.close());
  return { db, setBack: await remember(db.client) };
}

/** All that changes files, memory or what is open. */
const works = [
  ["create table t as select i, repeat('long', 1000) as text from generate_series(1, 5000) i"],
  ["create role bob", "grant perch_app to bob", "set role bob", "create temp table of_bob ()", "reset role"],
  ["begin", "select perch.set_context(user_id => 'ada')", "select perch.create_space(space_id => 'team')", "commit"],
  [
    "begin",
    "create temp table gone (a int)",
    "insert into gone select generate_series(1, 10000)",
    "commit",
    "drop table gone",
  ],
  [
    "set work_mem = '64kB'",
    "create table sorted as select md5(i::text) as a from generate_series(1, 20000) i order by 1",
  ],
  ["prepare p as select 1", "listen everything", "notify everything, 'something'"],
  ["alter table perch.spaces add column added int default 1", "vacuum full perch.spaces", "checkpoint"],
  ["truncate perch.sync_changes, perch.spaces cascade", "drop schema public cascade", "create schema public"],
  ["select set_config('app.current_user_id', 'eve', false)", "select 1/0"],
  ["do $$ begin for i in 1..200 loop execute format('create table t%s (a int primary key)', i); end loop; end $$"],
  ["select pg_switch_wal()", "update pg_catalog.pg_class set relname = relname"],
];

it("sets a database back to how it was, byte for byte", async () => {
  const { db, setBack } = await fresh();
  const memory = () => (db.client.Module as unknown as { HEAPU8: Uint8Array }).HEAPU8;
  const before = { files: await db.image(), memory: memory().slice() };
  const settings = () =>
    db.query(
      "select current_user as who, current_setting('work_mem') as memory, current_setting('app.current_user_id', true) as id",
    );
  const [spaces, set] = [await db.query("select from perch.spaces"), await settings()];
  expect(await setBack()).toBe(true);
  for (const work of [...works, works.flat()]) {
    for (const statement of work) {
      const failed = await db.query(statement).then(
        () => undefined,
        (error: Error) => error.message,
      );
      expect([undefined, "division by zero"]).toContain(failed);
    }
    expect(Buffer.compare(memory(), before.memory)).not.toBe(0);
    expect(await setBack()).toBe(true);
    expect(Buffer.compare(memory(), before.memory)).toBe(0);
    expect(Buffer.compare(await db.image(), before.files)).toBe(0);
    expect([await db.query("select from perch.spaces"), await settings()]).toEqual([spaces, set]);
  }
});

it("leaves no timer in it, which would set others under the clock of a test that has nothing to do with it", async () => {
  const { db, setBack } = await fresh();
  const timers = fakeClock("pglite", { toFake: ["setTimeout", "clearTimeout", "Date"] });
  onTestFinished(() => void vi.useRealTimers());
  for (let round = 0; round < 3; round++) {
    await db.query("create table of_this_round ()");
    expect(await setBack()).toBe(true);
    await vi.advanceTimersByTimeAsync(15_000);
    expect(timers()).toEqual([]);
  }
});

it("says that it cannot where a library was loaded since", async () => {
  const { db, setBack } = await fresh();
  await db.query("select convert('text', 'UTF8', 'LATIN1')");
  expect(await setBack()).toBe(false);
  expect(await db.query("select 1 as one")).toEqual([{ one: 1 }]);
});

it("keeps whoever had a database out of it when it is somebody else's", async () => {
  const open = pglite();
  const first = await open();
  await first.db.query("create table of_the_first ()");
  const heard: string[] = [];
  await first.db.listen(["news"], {
    ready: () => undefined,
    notify: (_channel: string, payload: string) => heard.push(payload),
  });
  await first.close();
  const second = await open();
  await second.db.query("notify news, 'of the second'");
  await expect(first.db.query("select 1")).rejects.toThrow("closed");
  await expect(first.db.transaction(async (tx) => tx.query("select 1"))).rejects.toThrow("closed");
  expect(heard).toEqual([]);
  expect(await second.db.query("select to_regclass('of_the_first') as it")).toEqual([{ it: null }]);
});
