import { beforeAll, expect, it } from "vitest";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";
import { codes, insert, pull, push, records, remove, snapshot, update } from "./support.js";

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: { code: string; detail: unknown }) => ({ code: error.code, detail: error.detail }),
  );

describeEachEngine("Schema versions", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    for (const statement of [
      "create schema app",
      "grant usage on schema app to perch_owner",
      // 1 to 2: title is called name. 2 to 3: done is a state.
      `create function app.tasks_1_to_2(change jsonb) returns jsonb language sql immutable as $$
         select change || jsonb_build_object(
           'data', (change -> 'data') - 'title' || case when (change -> 'data') ? 'title' then jsonb_build_object('name', change -> 'data' -> 'title') else '{}' end,
           'field_meta', (change -> 'field_meta') - 'title'
             || case when (change -> 'field_meta') ? 'title' then jsonb_build_object('name', change -> 'field_meta' -> 'title') else '{}' end) $$`,
      `create function app.tasks_2_to_3(change jsonb) returns jsonb language sql immutable as $$
         select change || jsonb_build_object('data', (change -> 'data') - 'done'
           || case when (change -> 'data') ? 'done' then jsonb_build_object('state', case when (change -> 'data' -> 'done') = 'true' then 'done' else 'open' end) else '{}' end) $$`,
      "create function app.broken(change jsonb) returns jsonb language sql immutable as 'select ''5''::jsonb'",
      "create function app.writes(change jsonb) returns jsonb language sql volatile as 'select change'",
    ]) {
      await t.db.query(statement);
    }
    await t.asUser("ada", (tx) =>
      push(tx, [insert("old", { title: "before versions", done: true }, { at: "2026-01-01T10:00:00Z" })]),
    );
    await t.db.query("select perch.register_upgrade('todo', 'tasks', 1, 'app.tasks_1_to_2(jsonb)')");
    await t.db.query("select perch.register_upgrade('todo', 'tasks', 2, 'app.tasks_2_to_3(jsonb)')");
    await t.db.query(
      "select perch.set_schema_version(app_id => 'todo', table_name => 'tasks', current_version => 3, minimum_version => 1)",
    );
  });

  it("refuse changes of a version that is not known yet or no longer taken, and readers of one", async () => {
    await t.db.query("select perch.set_schema_version('todo', 'notes', 1, 1)");
    await t.db.query("select perch.register_upgrade('todo', 'lists', 2, 'app.tasks_2_to_3(jsonb)')");
    await t.db.query("select perch.set_schema_version('todo', 'lists', 3, 2)");
    await t.asUser("eve", async (tx) => {
      const list = (schema_version?: number) => ({ op: "insert", table: "lists", id: "l", schema_version });
      expect(codes(await push(tx, [list(4), list(1), list(), list(2), list(3)]))).toEqual([
        "PE422",
        "PE422",
        "PE422",
        "applied",
        "applied",
      ]);
      expect(codes(await push(tx, [list()]))).toEqual(["PE422"]);
      expect(codes(await push(tx, [list(3)]))).toEqual(["applied"]);
    });
    for (const version of [1, 4]) {
      expect(await failure(t.asUser("eve", (tx) => pull(tx, { versions: { lists: version } })))).toMatchObject({
        code: "PE422",
      });
      expect(await failure(t.asUser("eve", (tx) => snapshot(tx, { versions: { lists: version } })))).toMatchObject({
        code: "PE422",
      });
    }
    for (const versions of [{ lists: "x" }, { lists: 0 }, { lists: 1.5 }]) {
      expect(await failure(t.asUser("eve", (tx) => pull(tx, { versions: versions as never })))).toMatchObject({
        code: "PE422",
      });
    }
  });

  it("lift older changes when they are pushed, one step after the other, alone and among others", async () => {
    await t.asUser("bob", async (tx) => {
      const times = { title: "2026-01-01T10:00:00.000000Z", done: "2026-01-01T11:00:00.000000Z" };
      await push(tx, [
        insert("a", { title: "A", done: true }, { schema_version: 1, field_meta: times, at: "2026-01-01T09:00:00Z" }),
      ]);
      await push(tx, [
        insert("b", { name: "B", done: false }, { schema_version: 2 }),
        insert("c", { name: "C", state: "open" }, { schema_version: 3 }),
        remove("x"),
      ]);
      expect(await records(tx)).toEqual({
        "~bob/tasks/a": { name: "A", state: "done" },
        "~bob/tasks/b": { name: "B", state: "open" },
        "~bob/tasks/c": { name: "C", state: "open" },
      });
      const { changes } = await pull(tx);
      expect(changes.map(({ schema_version }) => schema_version)).toEqual([3, 3, 3, 3]);
      expect(changes[0]?.field_meta).toEqual({ name: times.title });
    });
  });

  it("lift what was logged before for the reader who names a version, in the log and in the snapshot", async () => {
    await t.asUser("ada", async (tx) => {
      expect((await pull(tx)).changes[0]).toMatchObject({
        schema_version: 1,
        data: { title: "before versions", done: true },
      });
      expect((await pull(tx, { versions: { tasks: 2 } })).changes[0]).toMatchObject({
        schema_version: 2,
        data: { name: "before versions", done: true },
      });
      expect((await pull(tx, { versions: { tasks: 3 } })).changes[0]).toMatchObject({
        schema_version: 3,
        data: { name: "before versions", state: "done" },
      });
      expect((await snapshot(tx, { versions: { tasks: 3 } })).records[0]).toMatchObject({
        schema_version: 3,
        data: { name: "before versions", state: "done" },
        field_meta: { name: "2026-01-01T10:00:00.000000Z laptop" },
      });
    });
  });

  it("lift a record when a newer change is folded into it", async () => {
    await t.asUser("ada", async (tx) => {
      await push(tx, [update("old", { name: "after" }, { schema_version: 3 })]);
      expect(await records(tx)).toEqual({ "~ada/tasks/old": { name: "after", state: "done" } });
    });
  });

  it("are set only when every step is there, with functions that can do it", async () => {
    const dba = (sql: string) => failure(t.db.query(sql));
    expect(await dba("select perch.set_schema_version('todo', 'gaps', 3, 1)")).toMatchObject({
      code: "PE422",
      detail: { missing: [1, 2] },
    });
    expect(await dba("select perch.set_schema_version('todo', 'tasks', 1, 2)")).toMatchObject({ code: "PE422" });
    expect(await dba("select perch.register_upgrade('todo', 'tasks', 0, 'app.broken(jsonb)')")).toMatchObject({
      code: "PE422",
    });
    expect(await dba("select perch.register_upgrade('todo', 'tasks', 1, 'app.writes(jsonb)')")).toMatchObject({
      code: "PE422",
    });
    expect(await dba("select perch.register_upgrade('todo', 'tasks', 1, 'pg_catalog.now()')")).toMatchObject({
      code: "PE422",
    });
    await t.db.query("select perch.register_upgrade('todo', 'broken', 1, 'app.broken(jsonb)')");
    await t.db.query("select perch.set_schema_version('todo', 'broken', 2)");
    expect(codes(await t.asUser("eve", (tx) => push(tx, [{ op: "insert", table: "broken", id: "x" }])))).toEqual([
      "PE422",
    ]);
    for (const sql of [
      "select perch.set_schema_version('todo', 'tasks', 3, 1)",
      "select perch.register_upgrade('todo', 'tasks', 1, 'app.broken(jsonb)')",
      "select perch.new_epoch()",
    ]) {
      expect(await failure(t.asUser("eve", (tx) => tx.query(sql)))).toMatchObject({ code: "42501" });
    }
  });
});
