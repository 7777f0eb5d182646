import { beforeAll, expect, it } from "vitest";
import { makeSpace, startNode } from "../gateway/support.js";
import { describeSomePostgres, type TestDatabase } from "../support/databases.js";
import { syncTable } from "../tables/support.js";
import { askShape, operations, readShape } from "./shape-support.js";

describeSomePostgres("the space of a row, as shapes tell it", (open) => {
  let t: TestDatabase;

  beforeAll(async () => {
    t = await open();
    await makeSpace(t, "north", "ada");
    await makeSpace(t, "NORTH", "eve");
    await t.db.query("create collation same (provider = icu, locale = 'und-u-ks-level2', deterministic = false)");
    for (const [table, space] of [
      ["by_column", "space_column => 'team'"],
      ["by_expression", "space_expression => $$coalesce(team, 'none')$$"],
    ] as const) {
      await t.db.query(`create table ${table} (id int primary key, team text collate same, title text)`);
      await syncTable(t.db, table, space);
      await t.db.query(`insert into ${table} values (1, 'north', 'plain'), (2, 'NORTH', 'secret')`);
    }
    await t.db.query("create table looked_up (id int primary key, team text, code text)");
    await syncTable(t.db, "looked_up", "space_column => 'team'");
    await t.db.query("insert into looked_up values (1, 'north', 'plain'), (2, 'north', 'secret')");
  });

  it.each(["by_column", "by_expression"])(
    "is told by its bytes, also where a collation takes others for equal: %s",
    async (table) => {
      const node = await startNode(t);
      const texts = (replies: { body: unknown }[]) => JSON.stringify(replies.map(({ body }) => body));
      const shape = texts(await readShape(node, { table }));
      const { text: subset } = await askShape(node, {
        table,
        offset: "now",
        subset__limit: "10",
        subset__order_by: "id",
      });
      const looked = await readShape(node, { table: "looked_up", where: `code in (select title from ${table})` });
      const [row] = await t.asUser("ada", (tx) =>
        tx.query<{ records: string }>(
          "select perch.snapshot_records(app_id => 'shop', space_id => 'north', tables => array[$1]) ->> 'records' as records",
          [table],
        ),
      );
      for (const told of [shape, subset, row?.records]) {
        expect(told).toContain("plain");
        expect(told).not.toContain("secret");
      }
      expect(looked.flatMap(operations)).toHaveLength(1);
    },
  );

  it("is none for all rows when the column of the space is gone", async () => {
    await t.db.query("create table lost (id int primary key, team text)");
    await syncTable(t.db, "lost", "space_column => 'team'");
    await t.db.query("insert into lost values (1, 'north')");
    await t.db.query("alter table lost drop column team");
    const node = await startNode(t);
    expect((await readShape(node, { table: "lost" })).flatMap(operations)).toEqual([]);
  });

  it("is read of tables whose names have letters that Postgres does not make small", async () => {
    await t.db.query("create table Ärzte (id int primary key, team text)");
    const [made] = await t.db.query<{ name: string }>(
      "select relname as name from pg_class where relname like '%rzte'",
    );
    await syncTable(t.db, `"${made?.name}"`, "space_column => 'team'");
    await t.db.query("insert into Ärzte values (1, 'north')");
    const node = await startNode(t);
    expect((await readShape(node, { table: "ÄRZTE" })).flatMap(operations)).toHaveLength(1);
  });

  it("goes with filters that compare values of types of the table's own, whatever they are called", async () => {
    await t.db.query("create type level as enum ('l1', 'l2')");
    await t.db.query("create table levels (id int primary key, team text, level level, since timestamptz)");
    await syncTable(t.db, "levels", "space_column => 'team'");
    await t.db.query("insert into levels values (1, 'north', 'l1', '2026-01-01'), (2, 'north', 'l2', '2026-01-01')");
    const node = await startNode(t);
    const found = async (where: string) =>
      (await readShape(node, { table: "levels", where })).flatMap(operations).length;
    expect(await found("level = 'l1'::level")).toBe(1);
    expect(await found("level in ('l1', 'l2') and since > '2025-12-31 Europe/Berlin'")).toBe(2);
  });

  it("goes with rules that read columns with a percent sign in their names", async () => {
    await t.db.query('create table prices (id int primary key, team text, "discount %" int)');
    await syncTable(t.db, "prices", `space_column => 'team', row_filter => '"discount %" > 0'`);
    await t.db.query("insert into prices values (1, 'north', 5), (2, 'north', 0)");
    const node = await startNode(t);
    expect((await readShape(node, { table: "prices" })).flatMap(operations)).toHaveLength(1);
  });
});
