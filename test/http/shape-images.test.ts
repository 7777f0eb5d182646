import { beforeAll, expect, it } from "vitest";
import { makeSpace, startNode } from "../gateway/support.js";
import { describeSomePostgres, type TestDatabase } from "../support/databases.js";
import { sequence, syncTable } from "../tables/support.js";
import { askShape, operations, readShape } from "./shape-support.js";

/* The log has rows as they were. A reader may come to them when the table is another. */
describeSomePostgres("what the log has of rows, as shapes read it back", (open) => {
  let t: TestDatabase;

  beforeAll(async () => {
    t = await open();
    await makeSpace(t, "north", "ada");
  });

  /** Who has read the table goes on, and where that is no longer possible begins anew, as the protocol's clients do. */
  async function readOn(
    node: Awaited<ReturnType<typeof startNode>>,
    table: string,
    query: Record<string, string> = {},
  ) {
    const asked = { table, ...query };
    const last = (await readShape(node, asked)).at(-1);
    return async () => {
      const next = await readShape(node, asked, {}, last);
      const status = next[0]?.status;
      if (status === 200) return { status, told: next.flatMap(operations) };
      return { status, told: (await readShape(node, asked)).flatMap(operations) };
    };
  }

  it.each<[what: string, columns: string, value: string, write: string, migrate: string, status: number]>([
    ["an array of jsonb that JSON makes another", "v jsonb[]", "'{}'", `array['[1,2]','3']::jsonb[]`, "", 200],
    [
      "a column that has another type since",
      "v text",
      "'1'",
      "'seven'",
      "update $T set v = '7'; alter table $T alter v type int using v::int",
      409,
    ],
    [
      "an enumeration whose value has another name",
      "v mood",
      "'ok'",
      "'sad'",
      "alter type mood rename value 'sad' to 'blue'",
      200,
    ],
    [
      "a domain that is stricter",
      "v even",
      "2",
      "5",
      "update $T set v = 4; alter domain even add check (value % 2 = 0)",
      200,
    ],
    ["a column whose domain takes no null", "v int", "1", "2", "alter table $T add column w given default 1", 409],
  ])("begins anew where a row cannot be read back: %s", async (_, column, value, written, migrate, statusOfOthers) => {
    await t.db.query(
      `do $$ begin if to_regtype('mood') is null then
         create type mood as enum ('sad', 'ok'); create domain even as int; create domain given as int not null; end if; end $$`,
    );
    await t.db.query(`drop table if exists kept; create table kept (id int primary key, team text, ${column})`);
    await syncTable(t.db, "kept", "space_column => 'team'");
    await t.db.query(`insert into kept values (1, 'north', ${value}), (2, 'north', ${value})`);
    await sequence(t.db);
    const node = await startNode(t);
    const next = await readOn(node, "kept");
    const others = await readOn(node, "kept", { columns: "id,team" });
    await t.db.query(`update kept set v = ${written} where id = 1`);
    await sequence(t.db);
    if (migrate !== "") await t.db.transaction((tx) => tx.script(migrate.replaceAll("$T", "kept")));
    const { status, told } = await next();
    expect([status, told.length]).toEqual([409, 2]);
    // Whoever does not ask for the column has nothing to do with it, as long as the table has the columns that it had.
    expect((await others()).status).toBe(statusOfOthers);
  });

  it("goes through many changes of a table that a sub-select is over", async () => {
    await t.db.query("create table wide (id int primary key, team text, note text)");
    await t.db.query("create table narrow (id int primary key, team text, wide int)");
    for (const table of ["wide", "narrow"]) await syncTable(t.db, table, "space_column => 'team'");
    await t.db.query("insert into wide select g, 'north', repeat('x', 700) from generate_series(1, 10000) g");
    await t.db.query("insert into narrow values (1, 'north', 1), (2, 'north', 20000)");
    await sequence(t.db);
    const node = await startNode(t);
    const next = await readOn(node, "narrow", { where: "wide in (select id from wide where note like 'x%')" });
    await t.db.query("update wide set note = note || 'y'");
    await t.db.query("update narrow set wide = 2 where id = 2");
    await sequence(t.db);
    expect(await next()).toEqual({
      status: 200,
      told: [`insert "public"."narrow"/"2" {"id":"2","team":"north","wide":"2"}`],
    });
  });

  it("begins anew where a first snapshot is under way, and more has changed than it can look at", async () => {
    await t.db.query("create table large (id int primary key, team text, n int)");
    await syncTable(t.db, "large", "space_column => 'team'");
    await t.db.query("insert into large select g, 'north', 0 from generate_series(1, 100001) g");
    await sequence(t.db);
    const node = await startNode(t);
    const first = await askShape(node, { table: "large", offset: "-1" });
    const on = { table: "large", offset: first.offset, handle: first.handle };
    await t.db.query("update large set n = 1 where id <= 1000");
    await sequence(t.db);
    expect((await askShape(node, on)).status).toBe(200);
    await t.db.query("update large set n = 2");
    await sequence(t.db);
    expect((await askShape(node, on)).status).toBe(409);
  });

  it("knows a row by one key, be it a negative zero", async () => {
    for (const type of ["float8", "float4"]) {
      await t.db.query(`drop table if exists zeros; create table zeros (id ${type} primary key, team text)`);
      await syncTable(t.db, "zeros", "space_column => 'team'");
      await t.db.query("insert into zeros values ('-0', 'north'), (0.1, 'north')");
      await sequence(t.db);
      const node = await startNode(t);
      const first = await readShape(node, { table: "zeros" });
      await t.db.query("delete from zeros");
      const next = await readShape(node, { table: "zeros" }, {}, first.at(-1));
      const keys = (replies: typeof first) =>
        replies.flatMap(({ body }) => body.flatMap(({ key }: { key?: string }) => key ?? []));
      expect(keys(first)).toEqual([`"public"."zeros"/"0"`, `"public"."zeros"/"0.1"`]);
      expect(keys(next)).toEqual(keys(first));
    }
  });
});
