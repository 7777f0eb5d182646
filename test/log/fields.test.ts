import { beforeAll, expect, it } from "vitest";
import type { Transaction } from "../../src/database/types.js";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";
import { sequence } from "../tables/support.js";
import { type Cursor, insert, type Page, push, remove, type Snapshot, update } from "./support.js";

type Fields = Record<string, unknown>;

describeEachEngine("Readers who want some fields only", (open) => {
  let t: TestDatabase;
  let users = 0;
  beforeAll(async () => {
    t = await open();
    await t.db.query("select perch.set_limit('max_page_bytes', 200000)");
  });
  const nobody = () => `user${++users}`;
  const as = <T>(who: string, work: (tx: Transaction) => Promise<T>) => t.asUser(who, work);
  const pull = (who: string, fields: unknown, more: { cursor?: Cursor; app?: string; versions?: Fields } = {}) =>
    as(who, async (tx) => {
      const [row] = await tx.query<{ page: Page }>(
        `select perch.pull(app_id => $1, cursor => $2::jsonb, fields => $3::jsonb, schema_versions => $4::jsonb) as page`,
        [
          more.app ?? "todo",
          JSON.stringify(more.cursor ?? {}),
          JSON.stringify(fields),
          JSON.stringify(more.versions ?? null),
        ],
      );
      return row?.page as Page;
    });
  const snapshot = (who: string, fields: unknown, more: { space?: string; app?: string; versions?: Fields } = {}) =>
    as(who, async (tx) => {
      const [row] = await tx.query<{ page: Snapshot }>(
        `select perch.snapshot_records(app_id => $1, space_id => $2, fields => $3::jsonb, schema_versions => $4::jsonb) as page`,
        [more.app ?? "todo", more.space ?? null, JSON.stringify(fields), JSON.stringify(more.versions ?? null)],
      );
      return row?.page as Snapshot;
    });

  it("get no other, with their times, and hear of changes of others without content; other tables come whole", async () => {
    const me = nobody();
    const early = "2026-01-01T10:00:00Z";
    await as(me, (tx) =>
      push(tx, [
        insert("a", { title: "A", body: "x".repeat(3_000) }, { field_meta: { title: early, body: early } }),
        update("a", { body: "y" }),
        update("a", { title: "A2", body: "z" }),
        insert("b", { body: "no title" }),
        { ...insert("n", { text: "whole" }), table: "notes" },
        remove("b"),
      ]),
    );
    const fields = { tasks: ["title", "author"] };
    const page = await pull(me, fields);
    expect(page.changes.map(({ op, id, data }) => [op, id, data])).toEqual([
      ["insert", "a", { title: "A" }],
      ["update", "a", {}],
      ["update", "a", { title: "A2" }],
      ["insert", "b", {}],
      ["insert", "n", { text: "whole" }],
      ["delete", "b", null],
    ]);
    expect(Object.keys(page.changes[0]?.field_meta ?? {})).toEqual(["title"]);
    const { records } = await snapshot(me, fields);
    expect(records.map(({ table, id, data, field_meta }) => [table, id, data, Object.keys(field_meta)])).toEqual([
      ["notes", "n", { text: "whole" }, ["text"]],
      ["tasks", "a", { title: "A2" }, ["title"]],
    ]);
    expect((await pull(me, { tasks: [] })).changes[0]?.data).toEqual({});
  });

  it("have the cursor of everybody else", async () => {
    const me = nobody();
    await as(me, (tx) => push(tx, [insert("a", { title: "A", body: "b" })]));
    const some = await pull(me, { tasks: ["title"] });
    expect(some.cursor).toEqual((await pull(me, null)).cursor);
    await as(me, (tx) => push(tx, [update("a", { title: "A2", body: "b2" })]));
    expect((await pull(me, null, { cursor: some.cursor })).changes[0]?.data).toEqual({ title: "A2", body: "b2" });
    const { cursor } = await snapshot(me, { tasks: ["title"] });
    expect((await pull(me, { tasks: ["body"] }, { cursor })).changes).toEqual([]);
  });

  it("are not held up by what they do not want: pages are as long as what is on them", async () => {
    const me = nobody();
    const long = "x".repeat(60_000);
    await as(me, (tx) =>
      push(
        tx,
        Array.from({ length: 12 }, (_, n) => insert(`r${n}`, { title: `${n}`, body: long })),
      ),
    );
    await as(me, (tx) => push(tx, [insert("huge", { title: "too long by itself", body: "y".repeat(300_000) })]));
    const fields = { tasks: ["title"] };
    const page = await pull(me, fields);
    expect([page.changes.length, page.has_more, page.withheld]).toEqual([13, false, undefined]);
    expect(page.changes.at(-1)?.data).toEqual({ title: "too long by itself" });
    const shot = await snapshot(me, fields);
    expect([shot.records.length, shot.next]).toEqual([13, null]);
    expect(shot.records[0]).toMatchObject({ id: "huge", data: { title: "too long by itself" } });
    expect((await pull(me, { tasks: ["body"] })).has_more).toBe(true);
  });

  it("of documents get them without their bodies", async () => {
    const me = nobody();
    await t.db.query(
      `insert into perch.stored_records (space_id, app_id, table_name, record_id, data, long_data, long_fields, latest_at, seq, user_id, size)
       values ('~' || $1, 'todo', 'pages', 'p', '{"title": "T", "n": 1}', jsonb_build_object('body', repeat('x', 250000)), '{body}', now(), 1, $1, 250030)`,
      [me],
    );
    await t.db.query("insert into perch.space_heads (space_id, seq) values ('~' || $1, 1)", [me]);
    await t.db.query(
      `insert into perch.sync_changes (space_id, seq, app_id, table_name, record_id, op, changed_fields, at, user_id)
       values ('~' || $1, 1, 'todo', 'pages', 'p', 'update', '{title,body}', now(), $1)`,
      [me],
    );
    const fields = { pages: ["title"] };
    expect((await pull(me, fields)).changes).toMatchObject([{ data: { title: "T" } }]);
    expect((await pull(me, fields)).withheld).toBeUndefined();
    expect((await pull(me, { pages: ["n"] })).changes[0]?.data).toEqual({});
    expect((await pull(me, { pages: ["body"] })).changes).toMatchObject([{ data: null, withheld: {} }]);
    expect((await snapshot(me, fields)).records).toMatchObject([{ data: { title: "T" } }]);
    expect((await snapshot(me, { pages: ["body"] })).records).toMatchObject([{ data: null, withheld: {} }]);
  });

  it("name them as in the version that they ask for", async () => {
    const me = nobody();
    await t.db.query(`
      create function public.old_to_2(change jsonb) returns jsonb language sql immutable
        return jsonb_set(change, '{data}', jsonb_build_object('name', change #> '{data,title}', 'more', 1))`);
    await t.db.query("grant execute on function public.old_to_2 to perch_owner");
    await as(me, (tx) => push(tx, [{ ...insert("a", { title: "T" }), table: "old" }]));
    await t.db.query("select perch.register_upgrade('todo', 'old', 1, 'public.old_to_2(jsonb)')");
    await t.db.query("select perch.set_schema_version('todo', 'old', 2, 1)");
    const versions = { old: 2 };
    expect((await pull(me, { old: ["name", "title"] }, { versions })).changes[0]).toMatchObject({
      data: { name: "T" },
      schema_version: 2,
    });
    const { records } = await snapshot(me, { old: ["name"] }, { versions });
    expect(records.map(({ data, field_meta }) => [data, Object.keys(field_meta)])).toEqual([[{ name: "T" }, ["name"]]]);
    expect((await pull(me, { old: ["title"] })).changes[0]?.data).toEqual({ title: "T" });
  });

  it("of synced tables never get what the rules hide, however they ask", async () => {
    const [olga, vera] = [nobody(), nobody()];
    const space = `team of ${olga}`;
    await as(olga, async (tx) => {
      await tx.query("select perch.create_space($1)", [space]);
      await tx.query("select perch.set_space_member($1, $2, 'viewer')", [space, vera]);
    });
    await t.db.query(
      "create table public.staff (id text primary key, team text not null, name text, salary int, note text, shown boolean)",
    );
    await t.db.query(
      `select perch.sync_table('public.staff', 'hr', space_column => 'team', columns => '{id,team,name,salary,shown}',
         row_filter => 'shown', column_roles => '{"salary": ["owner"]}')`,
    );
    await t.db.query(
      "insert into public.staff values ('1', $1, 'Al', 10, 'secret', true), ('2', $1, 'Bo', 20, 'secret', false)",
      [space],
    );
    await t.db.query("update public.staff set salary = 11, note = 'more' where id = '1'");
    await t.db.query("update public.staff set name = 'Alma', salary = 12 where id = '1'");
    await sequence(t.db);
    const fields = { staff: ["name", "salary", "note"] };
    const seen = async (who: string, wanted: unknown) => {
      const { changes } = await pull(who, wanted, { app: "hr" });
      const { records } = await snapshot(who, wanted, { app: "hr", space });
      return [changes.map(({ op, id, data }) => [op, id, data]), records.map(({ id, data }) => [id, data])];
    };
    expect(await seen(vera, fields)).toEqual([
      [
        ["insert", "1", { name: "Al" }],
        ["update", "1", { name: "Alma" }],
      ],
      [["1", { name: "Alma" }]],
    ]);
    expect(await seen(olga, fields)).toEqual([
      [
        ["insert", "1", { name: "Al", salary: 10 }],
        ["update", "1", { salary: 11 }],
        ["update", "1", { name: "Alma", salary: 12 }],
      ],
      [["1", { name: "Alma", salary: 12 }]],
    ]);
    expect(await seen(olga, { staff: ["name"] })).toEqual([
      [
        ["insert", "1", { name: "Al" }],
        ["update", "1", {}],
        ["update", "1", { name: "Alma" }],
      ],
      [["1", { name: "Alma" }]],
    ]);
  });

  it.each([
    [["title"]],
    ["title"],
    [{ tasks: "title" }],
    [{ tasks: { title: 1 } }],
    [{ tasks: ["title", 1] }],
    [{ tasks: null }],
  ])("are told what is wrong with %j", async (fields) => {
    const me = nobody();
    const wrong = {
      code: "PE422",
      detail: { argument: "fields" },
      hint: expect.stringContaining('{"pages": ["title"]}'),
    };
    await expect(pull(me, fields)).rejects.toMatchObject(wrong);
    await expect(snapshot(me, fields)).rejects.toMatchObject(wrong);
  });
});
