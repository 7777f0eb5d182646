import { expect, it } from "vitest";
import { logMoment, readRows } from "../../src/shapes/queries.js";
import { postgres } from "../support/databases.js";
import { Follower, held, sequence, syncTable } from "../tables/support.js";
import { operations } from "./support.js";

const open = postgres(18);

it("rows whose key is of an extension's type, with an order of its own, are all read, however small the pages", async () => {
  const t = await open();
  await t.db.query("create extension citext");
  await t.db.query("create domain tag as citext");
  await t.asUser("ann", (tx) => tx.query("select perch.create_space('team')"));
  const tables: [string, string][] = [
    ["words", "a"],
    ["pairs", "a, b"],
    ["turned", "b, a"],
    ["tagged", "c"],
  ];
  for (const [name, key] of tables) {
    await t.db.query(`create table ${name} (a citext collate "C", b int, c tag collate "C", primary key (${key}))`);
    await syncTable(t.db, name, "space_id => 'team'");
    await t.db.query(
      `insert into ${name} select w, n, w from unnest(array['a', 'B', 'c', 'D', 'e', 'F', '"', '_']) with ordinality w (w, n)`,
    );
  }
  await sequence(t.db);
  const rows = tables.map(([name]) => [name, 8]);

  const follower = await t.asUser("ann", (tx) => new Follower().join(tx, "team", 3));
  const joined = Object.keys(held(follower));
  expect(tables.map(([name]) => [name, joined.filter((key) => key.startsWith(`${name}/`)).length])).toEqual(rows);

  for (const [table] of tables) {
    const shape = { schema: "public", table, columns: null, filter: null };
    const since = (await logMoment(t.db)).position;
    const found: unknown[] = [];
    let [key, snapshot]: [readonly string[] | null, Awaited<ReturnType<typeof readRows>>["snapshot"]] = [
      null,
      undefined,
    ];
    do {
      const page = await t.asUser("ann", (tx) => readRows(tx, shape, { key, since, snapshot, maxBytes: 100 }));
      found.push(...operations(page));
      ({ lastKey: key, snapshot } = page);
    } while (key !== null);
    expect([table, found.length]).toEqual([table, 8]);
  }
});
