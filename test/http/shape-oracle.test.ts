import { expect, it } from "vitest";
import type { Database } from "../../src/database/types.js";
import { withContext } from "../../src/identity/index.js";
import { push } from "../../src/log/index.js";
import { startWorker } from "../../src/worker/index.js";
import { cleanup, makeSpace, type Node, startNode } from "../gateway/support.js";
import { describeSomePostgres } from "../support/databases.js";
import { until } from "../support/until.js";
import { syncTable } from "../tables/support.js";
import { askShape } from "./shape-support.js";

const spaces = ["red", "blue", "green"] as const;
const rounds = 4;
const writers = 8;
const roundMs = 400;

const pick = <T>(values: readonly T[]): T => values[Math.floor(Math.random() * values.length)] as T;
const id = () => 1 + Math.floor(Math.random() * 40);
const title = () => pick(["a", "b", "ab", "B", "ä", null]);

/** What a shape may be: a filter, and what it is in SQL over the table with its parameters put in. */
const filters: readonly { readonly query: Record<string, string>; readonly sql: string }[] = [
  { query: {}, sql: "true" },
  { query: { where: "n % 2 = 0" }, sql: "n % 2 = 0" },
  { query: { where: "title like $1", "params[1]": "a%" }, sql: "title like 'a%'" },
  { query: { where: "title in ('b', 'B') or title is null" }, sql: "title in ('b', 'B') or title is null" },
  { query: { where: "not done and n > $1", "params[1]": "3" }, sql: "not done and n > 3" },
  { query: { where: "lower(title) = 'b' and team <> 'red'" }, sql: "lower(title) = 'b' and team <> 'red'" },
  { query: { where: "10 / nullif(n, 0) > 2" }, sql: "10 / nullif(n, 0) > 2" },
  {
    query: { where: "n in (select id from people where active)" },
    sql: "n in (select p.id from people p where p.active and p.team = any ($1))",
  },
  {
    query: { where: "not done or n not in (select boss from people where active)" },
    sql: "not done or n not in (select p.boss from people p where p.active and p.team = any ($1))",
  },
  {
    query: { where: "n in (select id from people where boss in (select id from people where active))" },
    sql: `n in (select p.id from people p where p.team = any ($1) and p.boss in (
            select p.id from people p where p.active and p.team = any ($1)))`,
  },
];

type Row = Record<string, string | null>;

/** A reader of one shape that takes every operation at its word. */
class Reader {
  rows = new Map<string, Row>();
  offset = "-1";
  handle = "";
  refetches = 0;
  upto = -1n;
  readonly faults: string[] = [];
  /**
   * A first snapshot shows what is committed, also what has no position yet: until all that has one, it is ahead of its position.
   */
  isAhead = true;
  /** What it held each time that it was told it was up to date, and with what. */
  seen: { readonly upto: bigint; readonly rows: readonly Row[] }[] = [];

  constructor(
    readonly user: string,
    readonly query: Record<string, string>,
    readonly sql: string,
    /** Any node, another each time. */
    readonly node: () => Node,
  ) {}

  async step(live: boolean): Promise<void> {
    const isLive = live && this.upto >= 0n;
    const query = {
      table: "items",
      ...this.query,
      offset: this.offset,
      ...(this.offset === "-1" ? {} : { handle: this.handle }),
      ...(isLive && { live: "true" }),
    };
    const reply = await askShape(this.node(), query, { token: this.user }).catch(() => undefined);
    // A node that was just stopped.
    if (reply === undefined || reply.status === 503) return;
    if (reply.status === 409) {
      Object.assign(this, { rows: new Map(), offset: "-1", upto: -1n, isAhead: true, refetches: this.refetches + 1 });
      return;
    }
    if (reply.status !== 200) throw new Error(`${reply.status} ${JSON.stringify(reply.body)}`);
    for (const message of reply.body) this.take(message);
    this.offset = reply.offset;
    this.handle = reply.handle;
    if (!reply.headers.has("electric-up-to-date")) return;
    this.upto = BigInt(reply.offset.split("_")[0] ?? "0");
    if (!this.isAhead) this.seen.push({ upto: this.upto, rows: this.sorted() });
  }

  sorted(): Row[] {
    return [...this.rows.values()].sort((a, b) => Number(a.id) - Number(b.id));
  }

  private take({
    key,
    value,
    old_value: old,
    headers,
  }: {
    key: string;
    value: Row;
    old_value?: Row;
    headers: Row;
  }): void {
    const { operation } = headers;
    if (operation === undefined || operation === null) return;
    const before = this.rows.get(key);
    if ((operation === "insert") === (before !== undefined)) {
      this.faults.push(`${operation} of ${key}, of which ${before === undefined ? "nothing" : "something"} was there`);
    }
    for (const [name, was] of Object.entries(old ?? {})) {
      if (before?.[name] !== was) this.faults.push(`${key} was not ${name} = ${was}`);
    }
    if (operation === "delete") this.rows.delete(key);
    else this.rows.set(key, { ...before, ...value });
  }
}

/** The tables as they were at any position, as the log has it. */
class Past {
  private readonly tables = { items: new Map<string, unknown>(), people: new Map<string, unknown>() };
  private upto = 0n;

  constructor(private readonly db: Database) {}

  async begin(): Promise<void> {
    for (const [name, rows] of Object.entries(this.tables))
      for (const { id, row } of await this.db.query<{ id: string; row: unknown }>(
        `select t.id::text, to_jsonb(t) as row from ${name} t`,
      ))
        rows.set(id, row);
  }

  /** In: filters by position, in any order. Out: for each the rows that it has there. */
  async select(
    asked: readonly { upto: bigint; where: string; spaces: readonly string[] }[],
  ): Promise<Map<object, Row[]>> {
    const entries = await this.db.query<{
      at: string;
      table_name: "items" | "people";
      record_id: string;
      row: unknown;
    }>(
      `select c.position::text as at, c.table_name, c.record_id,
              case when c.op = 'insert' then c.data else i.new_row end as row
         from perch.sync_changes c left join perch.row_images i on i.space_id = c.space_id and i.seq = c.seq
        where c.position > $1 and c.table_name in ('items', 'people') order by c.position`,
      [String(this.upto)],
    );
    const answers = new Map<object, Row[]>();
    let next = 0;
    for (const one of [...asked].sort((a, b) => Number(a.upto - b.upto))) {
      for (; next < entries.length && BigInt(entries[next]?.at ?? 0) <= one.upto; next++) {
        const { at, table_name: table, record_id: id, row } = entries[next] as (typeof entries)[number];
        if (row === null) this.tables[table].delete(id);
        else this.tables[table].set(id, row);
        this.upto = BigInt(at);
      }
      const rows = await this.db.query<Row>(
        `with items as (select * from jsonb_populate_recordset(null::items, $2)),
              people as (select * from jsonb_populate_recordset(null::people, $3))
         select id::text, team, n::text, title, done::text from items where team = any ($1) and (${one.where})
          order by items.id`,
        [one.spaces, ...["items", "people"].map((name) => JSON.stringify([...this.tables[name as "items"].values()]))],
      );
      answers.set(one, rows);
    }
    return answers;
  }
}

describeSomePostgres("shapes, by an oracle", (open) => {
  it("are what select says, whatever is written, by whom, wherever they are read, and whatever is forgotten", async () => {
    const t = await open();
    for (const space of spaces) await makeSpace(t, space, "ada", { ben: "editor" });
    await t.asUser("ada", (tx) => tx.query("select perch.set_space_member('red', 'cleo', 'viewer')"));
    await t.db.query(
      "create table items (id int primary key, team text, n int, title text, done boolean default false)",
    );
    await t.db.query(
      "insert into items select g, (array['red', 'blue', 'green', null])[1 + g % 4], g % 7, 'ab', g % 3 = 0 from generate_series(1, 25) g",
    );
    await syncTable(t.db, "items", "space_column => 'team', writable_columns => '{title,n}'");
    await t.db.query("create table people (id int primary key, team text, active boolean, boss int)");
    await t.db.query(
      "insert into people select g, (array['red', 'blue', 'green'])[1 + g % 3], g % 2 = 0, g % 5 from generate_series(1, 20) g",
    );
    await syncTable(t.db, "people", "space_column => 'team'");
    const past = new Past(await t.connect());
    await past.begin();
    const env = { PERCH_SHAPE_WAIT_MS: "100", PERCH_SHAPE_CHUNK_BYTES: "1500", PERCH_RECHECK_MS: "100" };
    const nodes = [await startNode(t, { env }), await startNode(t, { env, db: await t.connect() })];
    const worker = await startWorker({ db: await t.connect(), live: (nodes[0] as Node).live });
    cleanup(() => worker.close());

    const readers = filters.flatMap(({ query, sql }, nth) => [
      new Reader("ben", query, sql, () => pick(nodes)),
      new Reader(nth % 2 === 0 ? "cleo" : "ben", { ...query, replica: "full" }, sql, () => pick(nodes)),
    ]);
    let writing = true;
    let compared = 0;
    let rule = "true";
    const db = await t.connect();

    const deeds: ((own: Database) => Promise<unknown>)[] = [
      (own) =>
        own.query(
          "insert into items values ($1, $2, $3, $4) on conflict (id) do update set n = excluded.n, done = not items.done",
          [id(), pick([...spaces, null]), id(), title()],
        ),
      (own) => own.query("update items set title = $2, n = n + 1 where id = $1", [id(), title()]),
      (own) => own.query("update items set team = $2 where id = $1", [id(), pick([...spaces, null])]),
      (own) => own.query("delete from items where id between $1 and $1 + 1", [id()]),
      (own) =>
        own.query(
          "update items set id = id + 100 where id = $1 and not exists (select from items where id = $1 + 100)",
          [id()],
        ),
      (own) => own.query("update items set id = id - 100 where id > 100 and id - 100 not in (select id from items)"),
      (own) =>
        own.transaction(async (tx) => {
          const row = id();
          await tx.query("update items set n = n + 1, title = 'b' where id = $1", [row]);
          await tx.query("select pg_sleep($1)", [Math.random() / 30]);
          await tx.query("delete from items where id = $1", [row]);
          await tx.query("insert into items values ($1, $2, 4, $3)", [row, pick(spaces), title()]);
          if (Math.random() < 0.2) throw new Error("rolled back");
        }),
      (own) =>
        withContext(own, { userId: "ben" }, (tx) =>
          push(tx, {
            appId: "shop",
            clientId: "phone",
            changes: [
              {
                op: "update",
                table: "items",
                id: String(id()),
                space_id: pick(spaces),
                data: { title: title(), n: id() },
              },
            ],
          }),
        ),
      // What sub-selects are over: by itself, and beside rows that are compared with it.
      (own) => own.query("update people set active = not active where id = $1", [id() % 20]),
      (own) => own.query("update people set boss = $2, team = $3 where id = $1", [id() % 20, id(), pick(spaces)]),
      (own) =>
        own.transaction(async (tx) => {
          const person = id();
          await tx.query("delete from people where id = $1", [person]);
          await tx.query("update items set n = $1 where id = $2", [person, id()]);
          await tx.query("insert into people values ($1, $2, true, $3)", [person, pick(spaces), pick([1, 2, null])]);
        }),
      // Holds the counter of a space, for a while.
      (own) =>
        own.transaction(async (tx) => {
          await tx.query("select from perch.space_heads where space_id = $1 for no key update", [pick(spaces)]);
          await tx.query("select pg_sleep($1)", [Math.random() / 10]);
        }),
    ];

    // They begin before anybody writes.
    const begin = (reader: Reader) =>
      until(async () => {
        await reader.step(false);
        return reader.upto >= 0n;
      }, "a reader to have begun");
    await Promise.all(readers.map(begin));
    for (const reader of readers) reader.isAhead = false;

    let written = 0;
    async function write(): Promise<void> {
      const own = await t.connect();
      while (writing) {
        await pick(deeds)(own).then(
          () => {
            written += 1;
          },
          () => undefined,
        );
      }
    }

    for (let round = 0; round < rounds; round++) {
      writing = true;
      written = 0;
      const busy = Array.from({ length: writers }, write);
      const reading = readers.map(async (reader) => {
        // Some are away for a round, and find much, or nothing any more.
        while (writing && Math.random() < 0.95) await reader.step(Math.random() < 0.5);
      });
      await new Promise((done) => setTimeout(done, roundMs / 2));
      if (round === 1)
        await t.asUser("ada", (tx) => tx.query("select perch.set_space_member('blue', 'cleo', 'viewer')"));
      if (round === 2) await t.asUser("ada", (tx) => tx.query("select perch.remove_space_member('blue', 'cleo')"));
      if (round === 2) {
        rule = "n is distinct from 3";
        await syncTable(
          t.db,
          "items",
          `space_column => 'team', writable_columns => '{title,n}', row_filter => '${rule}'`,
        );
      }
      if (round === 3)
        await t.asWorker((tx) => tx.query("select perch.prune_changes(keep_for => '0 s', keep_last => 5)"));
      if (round % 2 === 1) {
        const [old] = nodes.splice(0, 1, await startNode(t, { env, db: await t.connect() }));
        await old?.stop();
      }
      await new Promise((done) => setTimeout(done, roundMs / 2));
      await until(() => written > 20, "enough to have been written");
      writing = false;
      await Promise.all(busy);
      await Promise.all(reading);
      await until(async () => {
        const [row] = await db.query<{ left: number }>("select count(*)::int as left from perch.captured_changes");
        return row?.left === 0;
      }, "all changes to have numbers");
      const [head] = await db.query<{ at: string }>("select max(position)::text as at from perch.sync_changes");
      const toTheEnd = (reader: Reader) =>
        until(async () => {
          await reader.step(false);
          return reader.upto >= BigInt(head?.at ?? 0);
        }, "a reader to have come to the end");
      await Promise.all(readers.map(toTheEnd));
      for (const reader of readers) {
        const memberOf = reader.user === "ben" ? [...spaces] : round === 1 ? ["red", "blue"] : ["red"];
        const rows = await db.query<Row>(
          `select id::text, team, n::text, title, done::text from items where team = any ($1) and (${rule}) and (${reader.sql}) order by items.id`,
          [memberOf],
        );
        expect(reader.faults).toEqual([]);
        expect(reader.sorted(), `${reader.user} ${JSON.stringify(reader.query)} in round ${round}`).toEqual(rows);
      }
      // Not only at the end: whenever it was up to date. At which position a membership or a rule changed nobody can say.
      const asked = readers.flatMap(({ user, sql, query, seen }) =>
        (user === "ben" ? round < 2 : round < 1)
          ? seen.map(({ upto, rows }) => ({
              ...{ upto, rows, where: sql, query },
              spaces: user === "ben" ? [...spaces] : ["red"],
            }))
          : [],
      );
      const some = asked.filter(() => Math.random() < 100 / asked.length);
      for (const [one, rows] of await past.select(some)) {
        const { upto, query, rows: got } = one as (typeof asked)[number];
        expect(got, `${JSON.stringify(query)} at ${upto} in round ${round}`).toEqual(rows);
      }
      compared += some.length;
      for (const reader of readers) Object.assign(reader, { seen: [], isAhead: false });
    }
    expect(compared).toBeGreaterThan(20);
    // It would show nothing if nobody had ever been told to begin anew.
    expect(readers.some(({ refetches }) => refetches > 0)).toBe(true);
  });
});
