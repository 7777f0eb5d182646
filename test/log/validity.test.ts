import fc from "fast-check";
import { beforeAll, expect, it } from "vitest";
import type { Transaction } from "../../src/database/types.js";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";
import type { Result } from "./support.js";

/**
 * One change alone takes the path of perch.push, among good ones that of perch.push_many, and beside a bad one that of
 * perch.read_change, which has the messages: what is taken, and what is written, must not depend on it.
 */
const often = <T>(usual: fc.Arbitrary<T>, ...odd: unknown[]) =>
  fc.oneof(
    { weight: 10, arbitrary: usual as fc.Arbitrary<unknown> },
    { weight: 1, arbitrary: fc.constantFrom(...odd) },
  );

const digits = (count: number) => `#${"1".repeat(count)}#`;
const time = often(
  fc.constantFrom(
    "2026-01-01T10:00:00Z",
    "2026-01-01T10:00:00.123456789Z",
    "2026-01-01T11:00:00+01:00",
    "2026-01-01T10:00Z",
    "2999-01-01T00:00:00Z",
    "1970-01-01T00:00:00Z",
  ),
  null,
  5,
  "",
  "now",
  "2026-01-01",
  "1970-01-01T00:00:00+01:00",
  "1969-12-31T23:59:59Z",
  "2026-02-29T10:00:00Z",
  "0001-01-01T00:00:00 BC Z",
  "2026-01-01T10:00:00+16:00",
  "2026-01-01T10:00:00 PM Z",
  "9999-12-31T23:59:59.9999999Z",
  {},
  ["2026-01-01T10:00:00Z"],
);
const deep = (levels: number): unknown => (levels === 0 ? 1 : [deep(levels - 1)]);
const value = often(
  fc.oneof(
    fc.string({ maxLength: 8 }),
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.boolean(),
    fc.constant(null),
  ),
  { a: [1, null] },
  deep(96),
  deep(97),
  deep(98),
  deep(99),
  "x".repeat(2_100),
  "1".repeat(300),
  "#1e308#",
  "#1e309#",
  "#-1e309#",
  "#1e-999#",
  "#1e-1001#",
  digits(400),
  digits(1_001),
  "#0.10#",
  "#1e900#",
);
const data = often(fc.dictionary(fc.constantFrom("a", "b", "", "a b"), value, { maxKeys: 3 }), null, 5, "x", [1]);
const id = often(
  fc.constantFrom("x", "y"),
  "",
  null,
  5,
  "x".repeat(256),
  "x".repeat(257),
  "a\u0001b",
  "é".repeat(128),
  "é".repeat(129),
);
const optional = (arbitrary: fc.Arbitrary<unknown>) => fc.option(arbitrary, { nil: undefined, freq: 1 });
const rare = (arbitrary: fc.Arbitrary<unknown>) => fc.option(arbitrary, { nil: undefined, freq: 12 });

const change = fc
  .record({
    op: often(fc.constantFrom("insert", "update", "delete"), "upsert", null, 1),
    table: often(fc.constantFrom("tasks", "versioned"), "", null, "t".repeat(129), "events", "diaries"),
    id,
    data: optional(data),
    at: optional(time),
    field_meta: rare(often(fc.dictionary(fc.constantFrom("a", "b", ""), time, { maxKeys: 2 }), null, "now", [])),
    op_id: rare(often(fc.constantFrom("o1", "o2"), "", null, 5, "o".repeat(257))),
    space_id: rare(often(fc.constantFrom("~ada", "team"), "elsewhere", "", null, 5, "x".repeat(257))),
    schema_version: rare(
      often(fc.constantFrom(1, 2), 0, 3, 1.5, null, "1", "#1.0#", "#2.00#", 999_999_999, 9_999_999_999),
    ),
    base_seq: rare(often(fc.constant(0), -1, 1.5, null, "0", "#1e30#")),
    base_revision: rare(often(fc.constant(0), -1, 1.5, null, "0", "#1e30#")),
    actor: rare(often(fc.constant({ id: 1 }), null, "ada", "#1e309#")),
    origin: rare(often(fc.constant("import"), "", null, 5, "a\u007fb", "o".repeat(257))),
    unknown: fc.option(fc.constant(1), { nil: undefined, freq: 30 }),
  })
  .map((made) =>
    // A null byte is none of JSON's for Postgres; numbers that JavaScript does not have are written in between #.
    JSON.stringify(made, (_, each) => (typeof each === "string" ? each.replaceAll("\0", "") : each)).replaceAll(
      /"#([^"]*)#"/g,
      "$1",
    ),
  );

interface Outcome {
  result: Result | undefined;
  rows: unknown[];
}

describeEachEngine("What a push takes", (open, engine) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await t.db.query(`select perch.declare_table('todo', 'events', '{"due": "datetime"}')`);
    await t.db.query("select perch.declare_encrypted_table('todo', 'diaries')");
    await t.db.query("create function public.lift(change jsonb) returns jsonb immutable language sql return change");
    await t.db.query("grant execute on function public.lift to public");
    await t.db.query("select perch.register_upgrade('todo', 'versioned', 1, 'public.lift(jsonb)')");
    await t.db.query("select perch.set_schema_version('todo', 'versioned', 2)");
    await t.asUser("ada", (tx) => tx.query("select perch.create_space('team')"));
  });

  /** What comes of the first of some changes; nothing of it stays. Moments of the push itself are all the same. */
  async function outcome(tx: Transaction, texts: string[], clientId: string | null): Promise<Outcome> {
    await tx.query("savepoint before");
    const [row] = await tx.query<{ answer: { results: Result[] } }>(
      "select perch.push('todo', $1::jsonb, $2) as answer",
      [`[${texts.join(",")}]`, clientId],
    );
    const [answer] = row?.answer.results ?? [];
    // Of documents: drawn at random.
    const result = answer && { ...answer, revision: undefined };
    const rows = await tx.query<{ row: unknown }>(
      // The hour may end within a transaction.
      `select regexp_replace(x.row::text, (
         select '(' || string_agg(to_char(hour at time zone 'UTC', 'YYYY-MM-DD"T"HH24'), '|') || ')[^" ]*'
           from unnest(array[now(), clock_timestamp()]) hour), 'now', 'g')::jsonb as row from (
         select to_jsonb(r) - '{created_at,updated_at,seq}'::text[] as row from perch.stored_records r where r.record_id not like 'beside%'
         union all
         select to_jsonb(c) - '{created_at,seq,size}'::text[] from perch.sync_changes c where c.record_id not like 'beside%') x order by 1`,
    );
    await tx.query("rollback to before");
    return { result, rows: rows.map(({ row }) => row) };
  }

  it("and what it writes is the same for a change alone, among others, and beside a bad one", async () => {
    const beside = (id: string) => `{"op": "insert", "table": "tasks", "id": "beside ${id}"}`;
    await fc.assert(
      fc.asyncProperty(change, fc.option(change), fc.constantFrom("laptop", null), async (text, first, clientId) => {
        await t.asUser("ada", async (tx) => {
          await tx.query("set local timezone = 'UTC'");
          // Whatever is there already.
          if (first !== null) await tx.query("select perch.push('todo', $1::jsonb, 'phone')", [`[${first}]`]);
          const alone = await outcome(tx, [text], clientId);
          const among = await outcome(tx, [text, beside("one"), beside("two")], clientId);
          const checked = await outcome(tx, [text, "{}"], clientId);
          const what = `${first}\n${text}`;
          expect(among, what).toEqual(alone);
          expect(checked, what).toEqual(alone);
        });
      }),
      // One on PGlite takes as long as ten elsewhere.
      { numRuns: { PGlite: 40, "Postgres 18": 200, "Postgres 15": 100 }[engine] },
    );
  });
});
