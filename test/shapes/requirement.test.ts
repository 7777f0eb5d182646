import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { readFilter } from "../../src/shapes/filter.js";
import { logMoment } from "../../src/shapes/queries.js";
import { requirementOf } from "../../src/shapes/requirement.js";
import { describeBothKinds, type TestDatabase } from "../support/databases.js";
import { sequence, syncTable } from "../tables/support.js";

const types = Object.fromEntries(
  Object.entries({ n: "int4", big: "int8", title: "text", code: "bpchar", done: "bool", key: "uuid", at: "date" }).map(
    ([name, type]) => [name, { type }],
  ),
);
const required = async (where: string, params: Record<string, string> = {}) => {
  const found = requirementOf(await readFilter(where, params, "items"), types);
  return found && `${found.isAll ? "all with" : "among"} ${found.column} ${[...found.values].join()}`;
};

describe("what a filter requires of a column", () => {
  it.each([
    ["n = 5", "all with n 5"],
    ["5 = n", "all with n 5"],
    ["n = '5'", "all with n 5"],
    ["n = 5::int8", "all with n 5"],
    ["big in (1, -2)", "all with big 1,-2"],
    ["title = 'it''s'", "all with title it's"],
    ["done", "all with done true"],
    ["done = false", "all with done false"],
    ["key = '00000000-0000-4000-8000-00000000000a'", "all with key 00000000-0000-4000-8000-00000000000a"],
    ["n = 1 or n in (2, 3)", "all with n 1,2,3"],
    ["title like 'a%' and n = 1 and done", "among n 1"],
    ["n = 1 and title > 'a' or n = 2", "among n 1,2"],
  ])("is read of %s", async (where, requirement) => {
    expect(await required(where)).toBe(requirement);
  });

  it.each([
    "",
    "n > 5",
    "n = big",
    "n = 1 or big = 1",
    "n = 1 or title > 'a'",
    "not n = 1",
    // As Postgres reads them: 5, and two that are equal.
    "n = '05'",
    "n = 5.0",
    "key = '00000000-0000-4000-8000-00000000000A'",
    // What is equal may be written differently, or is another type's to say.
    "code = 'a'",
    "at = '2026-01-01'",
    "title = 5::text::name",
    "n = null",
    "n + 0 = 5",
    "done is true",
    `title = '${"x".repeat(201)}'`,
  ])("is not known of %s", async (where) => {
    expect(await required(where)).toBeUndefined();
  });

  it("is read of parameters", async () => {
    expect(await required("title = $1 and n = $2", { "1": "a", "2": "7" })).toBe("among title a");
  });
});

describeBothKinds("values of rows that changed", (open, engine) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    if (engine !== "PGlite") {
      await t.db.query(
        "create collation insensitive (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
      );
    }
    await t.db.query("create domain code as text");
    await t.db.query(
      `create table items (id int primary key, n int4, big int8, title text, done bool, key uuid, at date, kind code
         ${engine === "PGlite" ? "" : ", odd text collate insensitive"})`,
    );
    await syncTable(t.db, "items", "space_id => 'team'");
  });

  const valuesOf = async (after: bigint, columns: readonly string[]) => {
    await sequence(t.db);
    const [row] = await t.db.query<{ found: Record<string, string[]> }>(
      `select perch.changed_values(schema_name => 'public', relation_name => 'items', app_id => 'shop', table_name => 'items',
         after_position => $1::bigint, upto => $2::bigint, columns => $3::text[]) as found`,
      [after, (await logMoment(t.db)).position, columns],
    );
    return row?.found;
  };

  it("are those before and after each change, of columns whose texts tell whether they are equal", async () => {
    const after = (await logMoment(t.db)).position;
    await t.db.query(
      "insert into items (id, n, title, kind) values (1, 5, 'a', 'k'), (2, null, 'b', 'k'), (3, 5, repeat('x', 201), 'k')",
    );
    await t.db.query("update items set n = 6 where id = 1");
    const columns = ["n", "title", "at", "kind", "no_such", ...(engine === "PGlite" ? [] : ["odd"])];
    expect(await valuesOf(after, columns)).toEqual({ n: ["5", "6"], title: ["a", "b"] });
    await t.db.query("update items set n = n");
    await t.db.query("insert into items (id) select n from generate_series(1000, 2100) n");
    // Of a great deal it is not said.
    expect(await valuesOf(after, ["n"])).toEqual({});
  });

  it("have one of those that a filter requires, where it is true of a row", { timeout: 60_000 }, async () => {
    const value = fc.constantFrom(
      "n = 1",
      "n in (2, 3)",
      "big = -7",
      "title = 'a'",
      "title in ('b', '')",
      "done",
      "done = false",
    );
    const filter = fc.oneof(
      value,
      fc.tuple(value, value).map(([one, other]) => `${one} and ${other}`),
      fc.tuple(value, value).map(([one, other]) => `(${one} or ${other})`),
      fc.tuple(value, value, value).map(([one, two, three]) => `(${one} or ${two} and ${three}) and n is not null`),
    );
    const row = fc.record({
      n: fc.constantFrom(1, 2, 3, null),
      big: fc.constantFrom(-7, 7, null),
      title: fc.constantFrom("a", "b", "", null),
      done: fc.constantFrom(true, false, null),
    });
    await fc.assert(
      fc.asyncProperty(row, fc.array(filter, { minLength: 1, maxLength: 10 }), async (row, wheres) => {
        const after = (await logMoment(t.db)).position;
        const { n, big, title, done } = row;
        await t.db.query(
          `insert into items (id, n, big, title, done) values (7, $1, $2, $3, $4)
             on conflict (id) do update set n = $1, big = $2, title = $3, done = $4`,
          [n, big, title, done],
        );
        await t.db.query("delete from items where id = 7");
        const had = await valuesOf(after, ["n", "big", "title", "done"]);
        for (const where of wheres) {
          const [is] = await t.db.query<{ true: boolean }>(
            `select (${where}) is true as "true" from (select $1::int4 as n, $2::int8 as big, $3::text as title, $4::bool as done) i`,
            [n, big, title, done],
          );
          const asked = requirementOf(await readFilter(where, {}, "items"), types);
          if (asked === undefined) continue;
          const has = [...asked.values].some((one) => had?.[asked.column]?.includes(one));
          if (is?.true) expect([where, row, has]).toEqual([where, row, true]);
          if (has && asked.isAll) expect([where, row, is?.true]).toEqual([where, row, true]);
        }
      }),
      { numRuns: engine === "Postgres 18" ? 60 : 15 },
    );
  });
});
