import fc from "fast-check";
import { beforeAll, expect, it } from "vitest";
import { readChangesTogether } from "../../src/shapes/changes-together.js";
import { readFilter } from "../../src/shapes/filter.js";
import { type ChangesPage, logMoment, openShape, readChanges } from "../../src/shapes/queries.js";
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
    await t.db.query("create table items (id int primary key, team text, n int, title text)");
    await syncTable(t.db, "items", "space_column => 'team'");
    await t.db.query("create table beside (id int primary key, team text)");
    await syncTable(t.db, "beside", "space_column => 'team'");
    for (const space of ["red", "blue"])
      await t.asUser("ada", (tx) => tx.query("select perch.create_space($1)", [space]));
    await t.asUser("ada", (tx) => tx.query("select perch.set_space_member('red', 'ben', 'viewer')"));
  });

  const position = async () => (await logMoment(t.db)).position;
  const filtersOf = (texts: readonly string[]) => Promise.all(texts.map((where) => readFilter(where, {}, "items")));

  /** As told in shapes that show other spaces, too: a transaction begins there where the first entry of all is. */
  const placed = (page: ChangesPage | undefined) =>
    page && {
      ...page,
      definitions: [],
      messages: page.messages.map((text) => {
        const { headers, ...message } = JSON.parse(text);
        const { lsn, op_position, ...others } = headers;
        return { ...message, headers: others, position: Number(lsn) + op_position };
      }),
    };
  const spacesOf = { ada: ["red", "blue", "~ada"], ben: ["red", "~ben"] };
  const shape = { schema: "public", table: "items", columns: null };
  const inLog = { app_id: "shop", table: "items" };

  const row = fc.record({
    id: fc.integer({ min: 1, max: 6 }),
    team: fc.constantFrom("red", "red", "blue", "green"),
    n: fc.constantFrom(1, 2, 3, 4, null),
    title: fc.constantFrom("a", 'b"\\', "ä\n", null),
  });
  const step = fc.record({ kind: fc.constantFrom("upsert", "upsert", "delete", "beside"), row });

  it("is what is told of each by itself", { timeout: 120_000 }, async () => {
    const filters = await filtersOf(wheres);
    let told = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(step, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 6 }),
        fc.boolean(),
        async (transactions, whole) => {
          const lsn = await position();
          for (const steps of transactions) {
            await t.db.transaction(async (tx) => {
              for (const { kind, row } of steps) {
                const { id, team, n, title } = row;
                if (kind === "delete") await tx.query("delete from items where id = $1", [id]);
                else if (kind === "beside") {
                  const upsert = "insert into beside values ($1, $2) on conflict (id) do update set team = $2";
                  await tx.query(upsert, [id, team]);
                } else {
                  const upsert = `insert into items values ($1, $2, $3, $4)
                                    on conflict (id) do update set team = $2, n = $3, title = $4`;
                  await tx.query(upsert, [id, team, n, title]);
                }
              }
            });
          }
          await sequence(t.db);
          const upto = await position();
          const from = { lsn, upto, whole, maxBytes: 4_000_000 };
          const spaces = ["red", "blue", "~ada", "~ben"];
          const together = await readChangesTogether(t.db, shape, inLog, spaces, filters, from);
          for (const user of ["ada", "ben"] as const) {
            for (const [nth, filter] of filters.entries()) {
              const alone = await t.asUser(user, (tx) =>
                readChanges(tx, { ...shape, filter }, { ...from, op: 0n, since: undefined }),
              );
              expect(placed(together.pageOf(nth, spacesOf[user]))).toEqual(placed(alone));
              told += alone.messages.length;
            }
          }
        },
      ),
      { numRuns: engine === "Postgres 18" ? 60 : 10 },
    );
    expect(told).toBeGreaterThan(20);
  });

  it("is told as of where the part of a transaction begins that stands together", async () => {
    const images = ["1", "2", "3"].map((n) => JSON.stringify({ id: Number(n), team: "red", n: Number(n), title: n }));
    const [row] = await t.db.query<{ messages: string[] }>(
      `select r.messages from perch.rendered_changes(schema_name => 'public', relation_name => 'items',
         all_positions => '{4,5,6,7}', all_txids => '{90,90,91,90}', entries => '{5,6,7}', old_rows => '{null,null,null}',
         new_rows => $1::text[]::jsonb[], filters => '{"null"}', columns => null, whole => false, max_bytes => 10000) r`,
      [images],
    );
    expect(row?.messages.map((text) => JSON.parse(text).headers)).toMatchObject([
      { lsn: "4", op_position: 1, txids: [90] },
      { lsn: "6", op_position: 0, txids: [91] },
      { lsn: "7", op_position: 0, txids: [90] },
    ]);
  });

  it("is not told together of filters that may fail, or ask for other tables, or of more than a page", async () => {
    const lsn = await position();
    await t.db.query("insert into items select n, 'red', n, repeat('x', 1000) from generate_series(101, 120) n");
    await sequence(t.db);
    const upto = await position();
    const filters = await filtersOf(["n = 101", "10 / n = 1", "id in (select id from beside)", ""]);
    const counts = async (maxBytes: number) => {
      const from = { lsn, upto, whole: false, maxBytes };
      const pages = await readChangesTogether(t.db, shape, inLog, ["red"], filters, from);
      return filters.map((_, nth) => pages.pageOf(nth, ["red"])?.messages.length);
    };
    expect(await counts(4_000_000)).toEqual([1, undefined, undefined, 20]);
    expect(await counts(10_000)).toEqual([undefined, undefined, undefined, undefined]);
  });

  it("is not the same any more for a table with other rules or columns, and is told of no spaces that it was not asked for", async () => {
    const lsn = await position();
    await t.db.query("insert into items values (201, 'red', 1), (202, 'blue', 1)");
    await sequence(t.db);
    const read = async () => {
      const from = { lsn, upto: await position(), whole: false, maxBytes: 4_000_000 };
      return readChangesTogether(t.db, shape, inLog, ["red"], [null], from);
    };
    const opened = await t.asUser("ben", (tx) => openShape(tx, shape));
    const before = await read();
    expect(before.content).toBe(opened.content);
    expect(before.pageOf(0, ["red", "blue"])?.messages).toHaveLength(1);
    expect(before.pageOf(0, ["~ben"])?.messages).toEqual([]);
    await t.db.query("alter table items add column more int");
    expect((await read()).content).not.toBe(opened.content);
    await syncTable(t.db, "items", "space_column => 'team', row_filter => 'n > 0'");
    expect((await read()).content).toBeNull();
    expect((await t.asUser("ben", (tx) => openShape(tx, shape))).content).toBeNull();
  });
});
