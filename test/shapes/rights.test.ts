import { beforeAll, expect, it } from "vitest";
import type { Opened } from "../../src/http/shape/reading.js";
import type { ShapeRequest } from "../../src/http/shape/request.js";
import { createRights } from "../../src/http/shape/rights.js";
import { logMoment, openShape, shapeRights } from "../../src/shapes/queries.js";
import { describeBothKinds, type TestDatabase } from "../support/databases.js";
import { goBackTo, sequence, syncTable } from "../tables/support.js";

const table = { schema: "public", table: "items" };
const wanted = { ...table, filter: null, columns: null, where: "", whole: false, changesOnly: false, queryable: null };
const ask = { ...wanted, from: { in: "log", lsn: 0n, op: 0n }, handle: undefined } as unknown as ShapeRequest;

describeBothKinds("rights of readers of shapes", (open) => {
  let t: TestDatabase;
  const asAda = (sql: string) => t.asUser("ada", (tx) => tx.query(sql));
  beforeAll(async () => {
    t = await open();
    await t.db.query("create type mood as enum ('sad', 'happy')");
    await t.db.query("create table items (id int primary key, team text, n int)");
    await syncTable(t.db, "items", "space_column => 'team'");
    await asAda("select perch.create_space('red')");
    await asAda("select perch.set_space_member('red', 'ben', 'editor')");
  });

  const digest = async () => {
    const { users, tables } = await shapeRights(t.db, ["ben", "nobody"], [table]);
    return JSON.stringify([[...users], tables]);
  };

  it("have another digest when anything is different that decides them, and when it was meanwhile", async () => {
    const seen = new Map([[await digest(), "the first"]]);
    for (const [what, change] of [
      ["a role", () => asAda("select perch.set_space_member('red', 'ben', 'viewer')")],
      [
        "a role, and back",
        async () => {
          await asAda("select perch.set_space_member('red', 'ben', 'editor')");
          await asAda("select perch.set_space_member('red', 'ben', 'viewer')");
        },
      ],
      ["gone", () => asAda("select perch.remove_space_member('red', 'ben')")],
      ["there again", () => asAda("select perch.set_space_member('red', 'ben', 'viewer')")],
      ["a rule", () => syncTable(t.db, "items", "space_column => 'team', row_filter => 'n > 1'")],
      ["the same rule", () => syncTable(t.db, "items", "space_column => 'team', row_filter => 'n > 1'")],
      ["a column", () => t.db.query("alter table items add column feeling mood")],
      ["a type", () => t.db.query("alter table items alter column n type bigint")],
      ["a name", () => t.db.query("alter type mood rename to feeling")],
      [
        "an epoch",
        async () => {
          await sequence(t.db);
          await goBackTo(t.db, (await logMoment(t.db)).position);
        },
      ],
      ["no table", () => t.db.query("alter table items rename to things")],
    ] as const) {
      await change();
      const now = await digest();
      expect([what, seen.get(now)]).toEqual([what, undefined]);
      seen.set(now, what);
    }
    await t.db.query("alter table things rename to items");
  });

  it("have the same one while nothing is, whatever others do", async () => {
    const before = await digest();
    await asAda("select perch.create_space('blue')");
    await asAda("select perch.set_space_member('blue', 'cleo', 'editor')");
    await t.db.query("insert into items (id, team, n) values (1, 'red', 2), (2, 'blue', 3)");
    await sequence(t.db);
    expect(await digest()).toBe(before);
  });

  it("are opened when they have another digest, and when that came while they were", async () => {
    let opened = 0;
    let meanwhile = async () => {};
    const rights = createRights(t.db, {
      open: async (_, __, work) => {
        opened += 1;
        await meanwhile();
        return t.asUser("ben", async (tx) => {
          const now = { ...(await openShape(tx, table)), selected: [] };
          return work(tx, { ...now, shape: now.definition } as Opened);
        });
      },
    });
    const spacesOf = async () => [...(await rights.verify({ userId: "ben" }, ask)).opened.spaces].sort();
    expect([await spacesOf(), await spacesOf(), opened]).toEqual([["red", "~ben"], ["red", "~ben"], 1]);
    // Who asks at once shares a statement, and each is told of its own.
    const [one, other] = await Promise.all([
      rights.verify({ userId: "ben" }, ask),
      rights.verify({ userId: "ben", spaceIds: ["blue"] }, ask),
    ]);
    expect([one.opened.spaces.length, other.moment, opened]).toEqual([2, one.moment, 2]);
    await asAda("select perch.set_space_member('blue', 'ben', 'viewer')");
    let isBetween = true;
    meanwhile = async () => {
      if (isBetween) await asAda("select perch.remove_space_member('blue', 'ben')");
      isBetween = false;
    };
    // It was opened by rights that are later than the digest: by that, it is not known.
    expect([await spacesOf(), opened]).toEqual([["red", "~ben"], 3]);
    expect([await spacesOf(), await spacesOf(), opened]).toEqual([["red", "~ben"], ["red", "~ben"], 4]);
  });
});
