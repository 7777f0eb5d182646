import { beforeAll, expect, it } from "vitest";
import type { Transaction } from "../../src/database/types.js";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";
import { type Cursor, codes, insert, type Page, pull, pullAll, push, remove, snapshot, update } from "./support.js";

const maxBytes = 200_000;

describeEachEngine("What readers cannot be given", (open) => {
  let t: TestDatabase;
  let users = 0;
  beforeAll(async () => {
    t = await open();
    await t.db.query("select perch.set_limit('max_page_bytes', $1)", [maxBytes]);
    await t.db.query(`
      create function public.tasks_to_2(change jsonb) returns jsonb language sql immutable
        return jsonb_set(change, '{data,n}', to_jsonb((change #>> '{data,n}')::integer))`);
    await t.db.query("grant execute on function public.tasks_to_2 to perch_owner");
    await t.db.query("select perch.register_upgrade('todo', 'versioned', 1, 'public.tasks_to_2(jsonb)')");
  });
  const nobody = () => `user${++users}`;
  const as = <T>(who: string, work: (tx: Transaction) => Promise<T>) => t.asUser(who, work);
  const texts = (who: string, cursor: Cursor = {}) =>
    as(who, async (tx) => {
      const [row] = await tx.query<{ page: string }>(
        "select perch.pull_text(app_id => 'todo', cursor => $1::jsonb) as page",
        [JSON.stringify(cursor)],
      );
      return row?.page ?? "";
    });

  it("because it is too long comes as a marker, and what is around it as ever", async () => {
    const me = nobody();
    // Eight letters each, and 131 kB of text: what is stored says nothing about what is sent.
    const bomb = `[{"op": "update", "table": "tasks", "id": "bomb", "data": {"a": 1e131071, "b": 1e131071}}]`;
    await as(me, async (tx) => {
      expect(codes(await push(tx, [insert("a")]))).toEqual(["applied"]);
      // Numbers that nobody can read are refused nowadays; those that are there already have to be lived with.
      await tx.query("select perch.set_context($1)", [me]);
      expect(codes(await push(tx, [insert("long", { text: "x".repeat(300_000) })]))).toEqual(["applied"]);
      expect(codes(await push(tx, [insert("z"), remove("a")]))).toEqual(["applied", "applied"]);
    });
    await t.db.query(
      `update perch.sync_changes set data = $1::jsonb -> 0 -> 'data', size = 262200 where space_id = '~' || $2 and record_id = 'z'`,
      [bomb, me],
    );
    await t.db.query(
      `update perch.stored_records set data = $1::jsonb -> 0 -> 'data', size = 262200 where space_id = '~' || $2 and record_id = 'z'`,
      [bomb, me],
    );
    const page = await as(me, (tx) => pullAll(tx));
    expect(page.changes.map(({ id, op }) => `${op} ${id}`)).toEqual([
      "insert a",
      "insert long",
      "insert z",
      "delete a",
    ]);
    expect(page.changes[1]).toMatchObject({
      data: null,
      field_meta: {},
      withheld: { reason: "too_large", bytes: expect.any(Number), max: maxBytes },
    });
    expect(page.changes[1]?.withheld?.bytes).toBeGreaterThan(300_000);
    expect(page.changes[2]).toMatchObject({ data: null, withheld: { reason: "too_large", bytes: 262_200 } });
    expect(page.changes[0]).not.toHaveProperty("withheld");
    expect((await as(me, (tx) => pull(tx))).withheld).toEqual({ too_large: 2, upgrade_failed: 0 });

    const records = await as(me, (tx) => snapshot(tx));
    expect(records.records).toMatchObject([
      { id: "long", data: null, field_meta: {}, withheld: { reason: "too_large", max: maxBytes } },
      { id: "z", data: null, withheld: { reason: "too_large" } },
    ]);
    expect(records.next).toBeNull();
    // What comes later is read on top of it.
    await as(me, (tx) => push(tx, [update("z", { a: 1, b: 2 }), update("long", { text: "short" })]));
    expect((await as(me, (tx) => pull(tx, { cursor: records.cursor }))).changes.map(({ data }) => data)).toEqual([
      { a: 1, b: 2 },
      { text: "short" },
    ]);
    expect((await as(me, (tx) => snapshot(tx))).records.map(({ data }) => data)).toEqual([
      { text: "short" },
      { a: 1, b: 2 },
    ]);
  });

  it("of a document is what changed, when that is too long; its other fields come", async () => {
    const me = nobody();
    await t.db.query(
      `insert into perch.stored_records (space_id, app_id, table_name, record_id, data, long_data, long_fields, latest_at, seq, user_id, size)
       values ('~' || $1, 'todo', 'pages', 'p', '{"title": "T"}', jsonb_build_object('body', repeat('x', 250000)), '{body}', now(), 2, $1, 250030)`,
      [me],
    );
    await t.db.query("insert into perch.space_heads (space_id, seq) values ('~' || $1, 2)", [me]);
    for (const [seq, field] of ["title", "body"].entries()) {
      await t.db.query(
        `insert into perch.sync_changes (space_id, seq, app_id, table_name, record_id, op, changed_fields, at, user_id)
         values ('~' || $1, $2::int, 'todo', 'pages', 'p', 'update', array[$3], now(), $1)`,
        [me, seq + 1, field],
      );
    }
    const { changes } = await as(me, (tx) => pullAll(tx));
    expect(changes).toMatchObject([{ data: { title: "T" } }, { data: null, withheld: { reason: "too_large" } }]);
  });

  it("never makes a page longer than it may be, and loses nothing at its ends", async () => {
    const me = nobody();
    // Stored in a hundredth of their length.
    const texted = Array.from({ length: 40 }, (_, n) =>
      insert(`r${String(n).padStart(2, "0")}`, { text: "y".repeat(20_000) }),
    );
    await as(me, (tx) =>
      push(tx, [...texted, ...Array.from({ length: 300 }, (_, n) => insert(`s${n}`, { n: "z".repeat(1_500) }))]),
    );
    let cursor: Cursor = {};
    let found = 0;
    for (let more = true; more; ) {
      const text = await texts(me, cursor);
      expect(text.length).toBeLessThan(maxBytes + 1_000);
      const page = JSON.parse(text) as Page;
      expect(page.withheld).toBeUndefined();
      found += page.changes.length;
      cursor = page.cursor;
      more = page.has_more;
    }
    expect(found).toBe(340);
    const ids = new Set<string>();
    let after: string | null = null;
    do {
      const page = await as(me, (tx) => snapshot(tx, { after }));
      expect(JSON.stringify(page.records).length).toBeLessThan(maxBytes + 1_000);
      for (const { id } of page.records) ids.add(id);
      after = page.next;
    } while (after !== null);
    expect(ids.size).toBe(340);
  });

  it("because an upgrade raises comes as a marker, in the log and in the snapshot; and nobody's push is stopped by it", async () => {
    const me = nobody();
    await t.db.query("delete from perch.schema_versions");
    const versioned = (id: string, n: unknown, more = {}) => insert(id, { n }, { table: "versioned", ...more });
    await as(me, (tx) => push(tx, [versioned("a", "1"), versioned("bad", "abc"), versioned("c", "3")]));
    await t.db.query("select perch.set_schema_version('todo', 'versioned', 2)");
    const versions = { versioned: 2 };
    const page = await as(me, (tx) => pull(tx, { versions }));
    expect(page.changes).toMatchObject([
      { id: "a", data: { n: 1 }, schema_version: 2 },
      { id: "bad", data: null, field_meta: {}, schema_version: 1, withheld: { reason: "upgrade_failed" } },
      { id: "c", data: { n: 3 }, schema_version: 2 },
    ]);
    expect(page.withheld).toEqual({ too_large: 0, upgrade_failed: 1 });
    expect((await as(me, (tx) => pull(tx))).changes[1]).toMatchObject({ data: { n: "abc" } });
    const records = await as(me, (tx) => snapshot(tx, { versions }));
    expect(records.records).toMatchObject([
      { id: "a", data: { n: 1 } },
      { id: "bad", data: null, withheld: { reason: "upgrade_failed" } },
      { id: "c", data: { n: 3 } },
    ]);

    const results = await as(me, (tx) =>
      push(tx, [
        versioned("d", "4"),
        versioned("worse", "def"),
        versioned("bad", 5, { op: "update", schema_version: 2, data: { m: 5 } }),
        versioned("e", "6"),
      ]),
    );
    expect(codes(results)).toEqual(["applied", "PE422", "applied", "applied"]);
    expect(results[1]?.error?.message).toContain("the upgrade from version 1 of versioned failed");
    expect(results[1]?.error?.detail).toMatchObject({ table: "versioned", id: "worse", from_version: 1 });

    // Mended: what was withheld comes, with what was written meanwhile.
    await t.db.query(`
      create or replace function public.tasks_to_2(change jsonb) returns jsonb language sql immutable
        return jsonb_set(change, '{data,n}', '0')`);
    const mended = await as(me, (tx) => snapshot(tx, { versions }));
    expect(mended.records.find(({ id }) => id === "bad")).toMatchObject({ data: { n: 0, m: 5 }, schema_version: 2 });
  });
});
