import { beforeAll, expect, it } from "vitest";
import type { Transaction } from "../../src/database/types.js";
import type { Cursor, Entry, Page, Result, Snapshot } from "../log/support.js";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";
import { sequence } from "./support.js";

const writerMay = "space_column => 'team', writable_columns => '{title}'";

describeEachEngine("A synced table that its owner changes", (open) => {
  let t: TestDatabase;
  let nth = 0;
  beforeAll(async () => {
    t = await open();
    await asAnn((tx) => tx.query("select perch.create_space('red')"));
  });

  const asAnn = <T>(work: (tx: Transaction) => Promise<T>) => t.asUser("ann", work);
  const run = (...statements: string[]) => t.db.transaction((tx) => tx.script(statements.join(";\n")));
  const sync = (table: string, app: string, options: string) =>
    run(`select perch.sync_table('${table}', '${app}', ${options})`);
  const problems = async (table: string) =>
    (await t.db.query<{ found: string[] }>("select perch.table_problems($1::regclass) as found", [table]))[0]?.found;

  async function pull(app: string, cursor: Cursor = {}): Promise<Page> {
    await sequence(t.db);
    return asAnn(async (tx) => {
      const [row] = await tx.query<{ page: Page }>("select perch.pull(app_id => $1, cursor => $2::jsonb) as page", [
        app,
        JSON.stringify(cursor),
      ]);
      return row?.page as Page;
    });
  }

  async function snapshot(app: string): Promise<Snapshot> {
    await sequence(t.db);
    return asAnn(async (tx) => {
      const [row] = await tx.query<{ page: Snapshot }>(
        "select perch.snapshot_records(app_id => $1, space_id => 'red') as page",
        [app],
      );
      return row?.page as Snapshot;
    });
  }

  async function push(app: string, ...changes: object[]): Promise<readonly Result[]> {
    return asAnn(async (tx) => {
      const [row] = await tx.query<{ answer: { results: Result[] } }>(
        "select perch.push(app_id => $1, client_id => 'phone', changes => $2) as answer",
        [app, JSON.stringify(changes)],
      );
      return row?.answer.results ?? [];
    });
  }

  const told = ({ changes }: Page) => changes.map(({ op, table, id }: Entry) => `${op} ${table} ${id}`);
  const ids = ({ records }: Snapshot) => records.map(({ table, id }) => `${table} ${id}`);

  it.each([
    ["by its columns", "seller = perch.current_user_id()"],
    ["as a whole", "to_jsonb(deals) ->> 'seller' = perch.current_user_id()"],
    ["by none", "perch.current_user_id() = 'ann'"],
  ])(
    "shows by its filter, which asks for a row %s, what changed before another column got another type",
    async (how, filter) => {
      const app = `filter${++nth}`;
      await run(
        "drop table if exists deals",
        `create domain rank_${nth} as int not null`,
        "create table deals (id int primary key, team text, seller text, due text)",
      );
      await sync("deals", app, `space_column => 'team', row_filter => '${filter.replaceAll("'", "''")}'`);
      await run("insert into deals values (1, 'red', 'ann', 'soon'), (2, 'red', 'ann', 'later')");
      const { cursor } = await snapshot(app);
      await run(
        "update deals set seller = 'bob' where id = 1",
        "insert into deals values (3, 'red', 'ann', 'x')",
        ...(how === "as a whole" ? [] : ["alter table deals alter due type date using null"]),
        `alter table deals add column rank rank_${nth} default 1`,
        "update deals set due = null where id = 2",
      );
      const expected = {
        "by its columns": ["delete deals 1", "insert deals 3", "update deals 2"],
        "as a whole": ["update deals 2"],
        "by none": ["update deals 1", "insert deals 3", "update deals 2"],
      };
      expect(told(await pull(app, cursor))).toEqual(expected[how as keyof typeof expected]);
    },
  );

  it("shows no rows at all by a filter whose column has another name, and doctor knows", async () => {
    await run("create table offers (id int primary key, team text, seller text)");
    await sync("offers", "offers", "space_column => 'team', row_filter => 'seller = perch.current_user_id()'");
    await run("insert into offers values (1, 'red', 'ann')");
    expect(told(await pull("offers"))).toEqual(["insert offers 1"]);
    expect(await problems("offers")).toEqual([]);
    await run("alter table offers rename seller to owner", "insert into offers values (2, 'red', 'ann')");
    expect(told(await pull("offers"))).toEqual([]);
    expect(ids(await snapshot("offers"))).toEqual([]);
    expect(await problems("offers")).toEqual([expect.stringContaining("row_filter cannot be evaluated (42703)")]);
  });

  it("never fails its writers, whatever the expression of its space fails by", async () => {
    await run(
      `create function public.space_of(code int) returns text language plpgsql immutable as $$
         declare found text;
         begin
           case code when 0 then return 'red'; when 1 then select r into strict found from generate_series(1, 0) r;
                when 2 then assert false; when 3 then raise exception 'no' using errcode = 'AB001';
                when 4 then execute 'select no_such_function()'; when 5 then execute 'select from no_such_table';
           end case;
         end $$`,
      "create table coded (id int primary key, code int not null)",
      "create table beside (id int primary key, team text)",
    );
    await sync("coded", "coded", "space_expression => 'public.space_of(code)'");
    await sync("beside", "coded", "space_column => 'team'");
    await run("insert into beside values (1, 'red')", "insert into coded select n, n from generate_series(0, 6) n");
    expect(told(await pull("coded"))).toEqual(["insert beside 1", "insert coded 0"]);
    await run("update coded set code = 6 - code where id in (0, 6)", "delete from coded where id = 3");
    expect(told(await pull("coded")).slice(2)).toEqual(["delete coded 0", "insert coded 6"]);
    expect(ids(await snapshot("coded"))).toEqual(["beside 1", "coded 6"]);
    expect(await problems("coded")).toEqual([expect.stringMatching(/fails for 5 of the 6 rows .* such as \d \(/)]);
    await run("alter function public.space_of(int) rename to no_more", "update coded set code = 5 where id = 1");
    expect(await problems("coded")).toEqual([expect.stringMatching(/space_expression cannot be evaluated \(42883\)/)]);
    await run("alter function public.no_more(int) rename to space_of");
    await run("truncate coded");
    expect(told(await pull("coded")).slice(4)).toEqual(["delete coded 6"]);
  });

  it.each([
    ["the column of its space", "alter table torn drop column team", "insert into torn values (2, 2)"],
    ["its key", "alter table torn drop column id", "insert into torn values ('red', 2)"],
    [
      "the constraint of its key",
      "alter table torn drop constraint torn_pkey, alter id drop not null",
      "insert into torn values (null, 'red', 2)",
    ],
  ])("hinders neither its writers nor readers of other tables without %s", async (_, change, insert) => {
    const app = `torn${++nth}`;
    await run(
      "drop table if exists torn, whole",
      "create table torn (id int primary key, team text, n int)",
      "create table whole (id int primary key, team text)",
    );
    await sync("torn", app, "space_column => 'team'");
    await sync("whole", app, "space_column => 'team'");
    await run("insert into torn values (1, 'red', 1)", "insert into whole values (1, 'red')", change);
    await run(insert, "update torn set n = n + 1", "delete from torn where n = 3", "truncate torn");
    expect(ids(await snapshot(app))).toContain("whole 1");
    expect(await problems("torn")).not.toEqual([]);
  });

  it.each([
    ["spaces by another column", "space_column => 'other'", ""],
    ["another space", "space_id => 'red'", ""],
    ["what was written while it was not synced", "space_column => 'team'", "select perch.unsync_table('moved')"],
    [
      "another table of its name",
      "space_column => 'team'",
      "drop table moved; create table moved (id int primary key, team text, other text, code text)",
    ],
    ["another name", "space_column => 'team', table_name => 'gone'", ""],
    ["another key", "space_column => 'team'", "alter table moved drop constraint moved_pkey, add primary key (code)"],
  ])("has readers begin anew with %s, which they could not be told of", async (_, options, change) => {
    const app = `moved${++nth}`;
    await run(
      "drop table if exists moved",
      "create table moved (id int primary key, team text, other text, code text not null unique)",
    );
    await sync("moved", app, "space_column => 'team'");
    await run("insert into moved values (1, 'red', 'blue', 'a')");
    const { cursor } = await pull(app);
    await sync("moved", app, "space_column => 'team', writable_columns => '{other}'");
    expect(told(await pull(app, cursor))).toEqual([]);
    if (change !== "") await run(change);
    await sync("moved", app, options);
    await expect(pull(app, cursor)).rejects.toMatchObject({ code: "PE410" });
  });

  it("is named by doctor when it has become a part of another, or another one of it", async () => {
    await run(
      "create table part (id int primary key, team text)",
      "create table parent (id int primary key, team text)",
    );
    await sync("part", "parts", "space_column => 'team'");
    await sync("parent", "parts", "space_column => 'team'");
    expect([await problems("part"), await problems("parent")]).toEqual([[], []]);
    await run(
      "create table root (id int primary key, team text) partition by range (id)",
      "alter table root attach partition part for values from (0) to (10)",
      "create table child () inherits (parent)",
    );
    expect(await problems("part")).toEqual([expect.stringContaining("become a partition")]);
    expect(await problems("parent")).toEqual([expect.stringContaining("child inherits from it")]);
  });

  it("is named by doctor when a column has another name whose documents people edit", async () => {
    await run("create table essays (id int primary key, team text, body text)");
    await sync("essays", "parts", `space_column => 'team', documents => '{"body": "text"}'`);
    expect(await problems("essays")).toEqual([]);
    await run("alter table essays rename body to content");
    expect(await problems("essays")).toEqual(["it has no column body any more"]);
  });

  it("refuses of a push what names a column that is gone, and nothing beside it", async () => {
    await run(
      "create table notes (id int primary key, team text, title text)",
      "create table tags (id int primary key, team text, title text)",
    );
    await sync("notes", "gone", writerMay);
    await sync("tags", "gone", writerMay);
    await run("alter table notes rename title to subject");
    const change = (table: string) => ({ op: "insert", table, id: "1", space_id: "red", data: { title: "x" } });
    const results = await push("gone", change("notes"), change("tags"));
    expect(results.map(({ status, error }) => [status, error?.code])).toEqual([
      ["rejected", "PE403"],
      ["applied", undefined],
    ]);
  });
});
