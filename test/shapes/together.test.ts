import fc from "fast-check";
import { beforeAll, expect, it } from "vitest";
import { readFilter } from "../../src/shapes/filter.js";
import { logMoment, readChanges, readChangesTogether } from "../../src/shapes/queries.js";
import { describeBothKinds, type TestDatabase } from "../support/databases.js";
import { sequence, syncTable } from "../tables/support.js";

const wheres = [
  "",
  "n = 1",
  "n in (2, 3)",
  "n > 2 and team = 'red'",
  "title is null or title <> 'a'",
  "not (n = 1 or n = 2)",
  "n is distinct from 3",
  "false",
];

describeBothKinds("what happens to shapes that differ in their filters alone", (open, engine) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    for (const [name, rules] of [
      ["items", ""],
      [
        "ruled",
        `, row_filter => 'n <> 2 or perch.current_user_id() = ''ben''', column_roles => '{"secret": ["owner"]}'`,
      ],
    ] as const) {
      await t.db.query(`create table ${name} (id int primary key, team text, n int, title text, secret text)`);
      await syncTable(t.db, name, `space_column => 'team'${rules}`);
    }
    await t.db.query("create table beside (id int primary key, team text)");
    await syncTable(t.db, "beside", "space_column => 'team'");
    for (const space of ["red", "blue"])
      await t.asUser("ada", (tx) => tx.query("select perch.create_space($1)", [space]));
    await t.asUser("ada", (tx) => tx.query("select perch.set_space_member('red', 'ben', 'viewer')"));
  });

  const position = async () => (await logMoment(t.db)).position;
  const filtersOf = (texts: readonly string[]) => Promise.all(texts.map((where) => readFilter(where, {}, "items")));

  const row = fc.record({
    id: fc.integer({ min: 1, max: 6 }),
    team: fc.constantFrom("red", "red", "blue", "green"),
    n: fc.constantFrom(1, 2, 3, 4, null),
    title: fc.constantFrom("a", 'b"\\', "ä\n", null),
  });
  const step = fc.oneof(
    fc.record({ kind: fc.constant("upsert" as const), row, table: fc.constantFrom("items", "ruled") }),
    fc.record({ kind: fc.constant("delete" as const), row, table: fc.constantFrom("items", "ruled") }),
    fc.record({ kind: fc.constant("beside" as const), row, table: fc.constant("beside") }),
  );

  it("is what is told of each by itself", { timeout: 120_000 }, async () => {
    const filters = await filtersOf(wheres);
    let told = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(step, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 6 }),
        fc.boolean(),
        fc.constantFrom("ada", "ben"),
        async (transactions, whole, user) => {
          const lsn = await position();
          for (const steps of transactions) {
            await t.db.transaction(async (tx) => {
              for (const {
                kind,
                table,
                row: { id, team, n, title },
              } of steps) {
                if (kind === "delete") await tx.query(`delete from ${table} where id = $1`, [id]);
                else if (kind === "beside") {
                  await tx.query("insert into beside values ($1, $2) on conflict (id) do update set team = $2", [
                    id,
                    team,
                  ]);
                } else {
                  await tx.query(
                    `insert into ${table} values ($1, $2, $3::int, $4, 's' || $3::int)
                       on conflict (id) do update set team = $2, n = $3, title = $4`,
                    [id, team, n, title],
                  );
                }
              }
            });
          }
          await sequence(t.db);
          const upto = await position();
          for (const table of ["items", "ruled"]) {
            const shape = { schema: "public", table, columns: null };
            const from = { lsn, upto, whole, maxBytes: 4_000_000 };
            const [together, alone] = await t.asUser(user, async (tx) => {
              const pages = [];
              for (const filter of filters) {
                pages.push(await readChanges(tx, { ...shape, filter }, { ...from, op: 0n, since: undefined }));
              }
              return [await readChangesTogether(tx, shape, filters, from), pages];
            });
            expect(together).toEqual(alone);
            told += alone.reduce((sum, { messages }) => sum + messages.length, 0);
          }
        },
      ),
      { numRuns: engine === "Postgres 18" ? 60 : 10 },
    );
    expect(told).toBeGreaterThan(20);
  });

  it("is not told together of filters that may fail, or ask for other tables, or of more than a page", async () => {
    const lsn = await position();
    await t.db.query("insert into items select n, 'red', n, repeat('x', 1000) from generate_series(101, 120) n");
    await sequence(t.db);
    const upto = await position();
    const filters = await filtersOf(["n = 101", "10 / n = 1", "id in (select id from beside)", ""]);
    const shape = { schema: "public", table: "items", columns: null };
    const read = (maxBytes: number) =>
      t.asUser("ada", (tx) => readChangesTogether(tx, shape, filters, { lsn, upto, whole: false, maxBytes }));
    expect((await read(4_000_000)).map((page) => page?.messages.length)).toEqual([1, undefined, undefined, 20]);
    expect(await read(10_000)).toEqual([undefined, undefined, undefined, undefined]);
  });
});
