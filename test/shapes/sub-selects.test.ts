import { randomInt } from "node:crypto";
import { beforeAll, expect, it } from "vitest";
import { seeded } from "../../scripts/faults/random.js";
import type { Queryable } from "../../src/database/types.js";
import { PerchError } from "../../src/errors.js";
import { readFilter, tablesIn } from "../../src/shapes/filter.js";
import { type Snapshot, showing } from "../../src/shapes/handle.js";
import { logMoment, readChanges, readRows } from "../../src/shapes/queries.js";
import type { FilterNode } from "../../src/shapes/tree.js";
import { describeBothKinds, type TestDatabase } from "../support/databases.js";
import { sequence, syncTable } from "../tables/support.js";
import { operations } from "./support.js";

const filters = [
  "n in (select id from people where active)",
  "n in (select id from people)",
  "not (n in (select id from people where active))",
  "n not in (select boss from people where active)",
  "n is null or n not in (select boss from people where not active) and id % 2 = 0",
  "n in (select id from people where boss in (select id from people where active))",
  "n in (select p.id from people as p where p.active and p.boss not in (select boss from people where id > 5))",
  "(n, team) in (select id, team from people where active)",
  "n in (select id from people where active) or n = any (select boss from people where 6 / id > 1)",
  "id in (select n from items where title = 'b')",
  "n + 1 in (select id from people where active)",
];

/** The same, of what the user may see. */
const inSql = (where: string) =>
  where.replaceAll(
    /from (people|items)(?: as (p))?/g,
    (_, table, alias) => `from (select * from ${table} where team in ('red', 'blue')) as ${alias ?? table}`,
  );

describeBothKinds("sub-selects of filters", (open, engine) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await t.db.query("create table people (id int primary key, team text, active boolean, boss int)");
    await t.db.query("create table items (id int primary key, team text, n int, title text)");
    await syncTable(t.db, "people", "space_column => 'team'");
    await syncTable(t.db, "items", "space_column => 'team'");
    for (const space of ["red", "blue"]) {
      await t.asUser("ada", (tx) => tx.query("select perch.create_space($1)", [space]));
    }
    await t.asUser("ben", (tx) => tx.query("select perch.create_space('green')"));
  });

  const asAda = <T>(work: (tx: Queryable) => Promise<T>) => t.asUser("ada", work);
  const shape = { schema: "public", table: "items", columns: null };

  /** A reader that takes each operation at its word. */
  class Reader {
    readonly rows = new Map<string, Record<string, string | null>>();
    readonly faults: string[] = [];
    place = { lsn: 0n, op: 0n };
    snapshot: Snapshot | undefined;
    key: readonly string[] | null | undefined = null;

    constructor(readonly filter: FilterNode | null) {}

    /** A chunk of the first snapshot, or else what the log has by now. */
    async step(): Promise<boolean> {
      if (this.key !== undefined) {
        if (this.key === null) this.place.lsn = (await logMoment(t.db)).position;
        const from = { key: this.key, since: this.place.lsn, snapshot: this.snapshot, maxBytes: 300 };
        const page = await asAda((tx) => readRows(tx, { ...shape, filter: this.filter }, from));
        this.snapshot = page.snapshot;
        this.key = page.lastKey ?? undefined;
        for (const message of operations(page)) this.take(message);
        return false;
      }
      const upto = (await logMoment(t.db)).position;
      const from = { ...this.place, upto, whole: false, maxBytes: 2_000, since: this.snapshot };
      const page = await asAda((tx) => readChanges(tx, { ...shape, filter: this.filter }, from));
      for (const [nth, message] of page.messages.entries()) {
        if (!showing(this.snapshot as Snapshot)(page.txids[nth] as bigint)) this.take(JSON.parse(message));
      }
      this.place = { lsn: page.lsn, op: page.op };
      return page.isEnd;
    }

    // biome-ignore lint/suspicious/noExplicitAny: what the protocol says
    take({ key, value, headers: { operation } }: any): void {
      if ((operation === "insert") === this.rows.has(key)) this.faults.push(`${operation} of ${key}`);
      if (operation === "delete") this.rows.delete(key);
      else this.rows.set(key, { ...this.rows.get(key), ...value });
    }
  }

  it("show what select shows, at each end of the log, whatever was written to which table", async () => {
    const seed = Number(process.env.PERCH_SHAPES_SEED ?? randomInt(2 ** 31));
    const { below: random, pick } = seeded(seed);
    const number = () => pick([1, 2, 3, 4, 5, 6, 7, null]);
    const team = () => pick(["red", "blue", "green"]);
    const deed = (): [string, unknown[]] =>
      pick<[string, unknown[]]>([
        [
          "insert into people values ($1, $2, $3, $4) on conflict (id) do update set active = not people.active",
          [1 + random(8), team(), pick([true, false]), number()],
        ],
        ["update people set active = not active where id = $1", [1 + random(8)]],
        ["update people set active = not active where id = $1", [1 + random(8)]],
        ["update people set boss = $2 where id = $1", [1 + random(8), number()]],
        ["update people set team = $2 where id = $1", [1 + random(8), team()]],
        ["delete from people where id = $1", [1 + random(8)]],
        [
          "insert into items values ($1, $2, $3, 'a') on conflict (id) do update set n = excluded.n",
          [1 + random(12), team(), number()],
        ],
        ["update items set title = $2 where id = $1", [1 + random(12), pick(["a", "b", "c"])]],
        ["update items set team = $2 where id = $1", [1 + random(12), team()]],
        ["delete from items where id = $1", [1 + random(12)]],
      ]);
    await t.db.query(
      "insert into items select g, (array['red', 'blue'])[1 + g % 2], g % 7, 'b' from generate_series(1, 12) g",
    );
    await t.db.query(
      "insert into people select g, (array['red', 'blue'])[1 + g % 2], g % 2 = 0, g % 4 from generate_series(1, 7) g",
    );
    const readers: Reader[] = [];
    for (const where of filters) readers.push(new Reader(await readFilter(where, {}, "items")));
    // One takes three times as long on PGlite.
    for (let round = 0; round < (engine === "PGlite" ? 1 : 5); round++) {
      for (let writes = 1 + random(6); writes > 0; writes--) {
        await t.db.transaction(async (tx) => {
          for (let count = pick([1, 1, 1, 2, 4]); count > 0; count--) await tx.query(...deed());
        });
        if (random(3) === 0) await sequence(t.db);
        for (const reader of readers) if (random(3) === 0) await reader.step();
      }
      await sequence(t.db);
      for (const [nth, reader] of readers.entries()) {
        while (!(await reader.step()));
        const rows = await t.db.query<{ id: number }>(
          `select id::text, team, n::text, title from items where team in ('red', 'blue') and (${inSql(filters[nth] as string)}) order by items.id`,
        );
        const got = [...reader.rows.values()].sort((a, b) => Number(a.id) - Number(b.id));
        expect(got, `${filters[nth]}, round ${round} of seed ${seed}`).toEqual(rows);
        expect(reader.faults, `${filters[nth]}, seed ${seed}`).toEqual([]);
      }
    }
  });

  const rowsOf = async (where: string, who = "ada", table = "items") => {
    const filter = await readFilter(where, {}, table);
    const from = { key: null, since: 0n, snapshot: undefined, maxBytes: 1_000_000 };
    const page = await t.asUser(who, (tx) => readRows(tx, { schema: "public", table, columns: null, filter }, from));
    return operations(page).map(({ value }) => Number(value.id));
  };

  it("tells of a row that moved as the doing of the transaction that moved it", async () => {
    await t.db.query("delete from items");
    await t.db.query("delete from people");
    await t.db.query("insert into people values (1, 'red', false, null)");
    await t.db.query("insert into items values (1, 'red', 1, 'a'), (2, 'blue', 1, 'b'), (3, 'red', 2, 'c')");
    await sequence(t.db);
    const reader = new Reader(await readFilter("n in (select id from people where active)", {}, "items"));
    const told: string[] = [];
    const take = reader.take.bind(reader);
    reader.take = (message) => {
      told.push(`${message.headers.operation} ${message.key.split("/")[1]} by ${message.headers.txids}`);
      take(message);
    };
    while (!(await reader.step()));
    const change = async (sql: string) => {
      const txid = await t.db.transaction(async (tx) => {
        await tx.query(sql);
        const [row] = await tx.query<{ txid: string }>("select pg_current_xact_id()::xid::text as txid");
        return row?.txid;
      });
      await sequence(t.db);
      while (!(await reader.step()));
      return [told.splice(0), txid] as const;
    };
    const [came, first] = await change("update people set active = true");
    expect(came.sort()).toEqual([`insert "1" by ${first}`, `insert "2" by ${first}`]);
    const [same] = await change("update people set boss = 7");
    expect(same).toEqual([]);
    const [left, last] = await change("update people set id = 2");
    expect(left.sort()).toEqual([`delete "1" by ${last}`, `delete "2" by ${last}`, `insert "3" by ${last}`]);
  });

  it("see of the other table what the user may see of it", async () => {
    await t.db.query("delete from items");
    await t.db.query("delete from people");
    await t.db.query("insert into people values (1, 'green', true, null), (2, 'red', true, null)");
    await t.db.query("insert into items values (1, 'red', 1, 'a'), (2, 'red', 2, 'a')");
    expect(await rowsOf("n in (select id from people where active)")).toEqual([2]);
    // What fails for a row that is not to be seen would tell of it.
    expect(await rowsOf("n in (select id from people where 1 / (id - 1) > 0)")).toEqual([2]);
    await syncTable(
      t.db,
      "people",
      "space_column => 'team', row_filter => 'active', column_roles => '{\"boss\": [\"viewer\"]}'",
    );
    await t.db.query("update people set active = false");
    expect(await rowsOf("n in (select id from people)")).toEqual([]);
    await expect(rowsOf("n in (select boss from people)")).rejects.toMatchObject({ code: "PE422" });
    await syncTable(t.db, "people", "space_column => 'team'");
  });

  it.each([
    "exists (select from people)",
    "n = (select id from people)",
    "n < any (select id from people)",
    "n <> all (select id from people)",
    "n in (select id from people, items)",
    "n in (select id from people group by id)",
    "n in (select distinct id from people)",
    "n in (select id from people limit 1)",
    "n in (select id from people union select 1)",
    "n in (with p as (select 1) select id from people)",
    "n in (select max(id) from people)",
    "n in (select id + 1 from people)",
    "n in (select * from people)",
    "n in (select id from only people)",
    "n in (select id from people for update)",
    "n in (select id from pg_catalog.pg_class)",
    "n in (select id, boss from people)",
    "n in (select id from people where items.n = 1)",
    "n in (select id from people where n = 1)",
    "n in (select id from unknown)",
    "n in (select id from generate_series(1, 2) id)",
    "n in (values (1))",
    "n in (select id from people where id in (select 1))",
    "n in (select id from people where pg_sleep(1) is null)",
    "(select true from people)",
  ])("refuses %s", async (where) => {
    const refused = await rowsOf(where).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(PerchError);
    expect((refused as PerchError).code).toMatch(/PE422|PE404/);
  });

  it("names the tables that they are over", async () => {
    const filter = await readFilter(
      'n in (select id from "People" where boss in (select id from hr.staff))',
      {},
      "items",
    );
    expect(tablesIn(filter)).toEqual([
      { schema: "public", table: "People" },
      { schema: "hr", table: "staff" },
    ]);
  });
});
