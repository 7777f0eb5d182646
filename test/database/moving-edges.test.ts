/** perch move: who may do what while it is under way, and what is written at its edges. */
import { expect, it } from "vitest";
import { moveState } from "../../src/database/moving/ends.js";
import { abortMove, type MoveOptions, move } from "../../src/database/moving/move.js";
import type { Database } from "../../src/database/types.js";
import { postgres, type TestDatabase } from "../support/databases.js";

const server = postgres(18);

const between = (from: TestDatabase, to: TestDatabase): MoveOptions => ({
  from: from.db,
  to: to.db,
  fromName: "here",
  toName: "there",
});

/** A database with which something happens before a question is asked for the nth time. */
function interposed(db: Database, asked: RegExp, nth: number, happens: () => Promise<unknown>): Database {
  let times = 0;
  return {
    ...db,
    async query(sql, ...rest) {
      if (asked.test(sql) && ++times === nth) await happens();
      return db.query(sql, ...rest);
    },
  };
}

/** Syncs a table that both have. */
async function withTable(make: string, name: string): Promise<[TestDatabase, TestDatabase]> {
  const both: [TestDatabase, TestDatabase] = [await server(), await server()];
  for (const { db } of both) await db.transaction((tx) => tx.script(make));
  await both[0].db.query(`select perch.sync_table(relation => '${name}', app_id => 'shop', space_id => 'team')`);
  return both;
}

it("lends nobody the rights of whoever moves", async () => {
  const [from, to] = [await server(), await server()];
  await move({ ...between(from, to), copyOnly: true });
  const worker = await from.login("perch_worker");
  const lent = worker.transaction((tx) =>
    tx.script(`create temporary table mine (id text);
               create trigger mine after insert on mine for each row
                 execute function perch_move.note('mine', 'select array[current_setting(''is_superuser''), ($1).id]');
               insert into mine values ('x')`),
  );
  await expect(lent).rejects.toMatchObject({ code: "42501" });
});

it("is not given up once it has come to its end, also when that happens meanwhile", async () => {
  const [from, to] = [await server(), await server()];
  await move({ ...between(from, to), copyOnly: true });
  const late = interposed(from.db, /update perch_move\.state set run/, 1, () =>
    from.db.query("update perch_move.state set phase = 'moved'"),
  );
  await expect(abortMove(late)).rejects.toThrow(/was moved to there/);
  expect(await from.db.query("select phase from perch_move.state")).toEqual([{ phase: "moved" }]);
});

it("notes a key as it is read, whatever styles the session has that writes it", async () => {
  const [from, to] = await withTable("create table public.days (day date primary key, note text)", "public.days");
  await from.db.query("insert into public.days select date '2026-01-01' + n, 'first' from generate_series(0, 99) n");
  const write = () =>
    from.db.transaction((tx) =>
      tx.script(
        "set local datestyle = 'SQL, DMY'; update public.days set note = 'second' where day = make_date(2026, 2, 1)",
      ),
    );
  // Behind the comparison of all rows.
  await move({ ...between(from, to), from: interposed(from.db, /max\(number\)/, 2, write) });
  expect(await to.db.query("select note from public.days where day = '2026-02-01'")).toEqual([{ note: "second" }]);
});

it("copies rows that exchange what is unique of them in the last moment, however far apart they are read", async () => {
  const [from, to] = await withTable(
    "create table public.seats (id int primary key, seat text unique, body text)",
    "public.seats",
  );
  await from.db.query(
    `insert into public.seats select n, 'seat ' || n, (select string_agg(md5(concat(n, ' ', m)), '') from generate_series(1, 40000) m)
       from generate_series(1, 2) n`,
  );
  let exchanging: Promise<unknown> | undefined;
  let commit = () => {};
  const commits = new Promise<void>((resolve) => {
    commit = resolve;
  });
  const exchange = () =>
    new Promise<void>((written) => {
      exchanging = from.db.transaction(async (tx) => {
        for (const [id, seat] of [
          [1, "none"],
          [2, "seat 1"],
          [1, "seat 2"],
        ])
          await tx.query("update public.seats set seat = $2 where id = $1", [id, seat]);
        written();
        await commits;
      });
    });
  // Written behind the comparison of all rows, and committed when nobody is let in any more.
  await move({
    ...between(from, to),
    from: interposed(from.db, /max\(number\)/, 2, exchange),
    onStep: (step) => step === "stopping" && commit(),
  });
  await exchanging;
  expect(await to.db.query("select id, seat from public.seats order by id")).toEqual([
    { id: 1, seat: "seat 2" },
    { id: 2, seat: "seat 1" },
  ]);
});

it("takes no writes any more in partitions that only the source has", async () => {
  const [from, to] = [await server(), await server()];
  const parts = { from: "days_a 0 100, days_b 100 200", to: "days_a 0 200" };
  for (const [t, made] of [
    [from, parts.from],
    [to, parts.to],
  ] as const) {
    await t.db.query("create table public.days (id int primary key) partition by range (id)");
    for (const part of made.split(", ")) {
      const [name, low, high] = part.split(" ");
      await t.db.query(`create table public.${name} partition of public.days for values from (${low}) to (${high})`);
    }
  }
  await from.db.query("select perch.sync_table(relation => 'public.days', app_id => 'shop', space_id => 'team')");
  await from.db.query("insert into public.days values (1), (101)");
  await move(between(from, to));
  expect(await to.db.query("select id from public.days order by id")).toEqual([{ id: 1 }, { id: 101 }]);
  await expect(from.db.query("insert into public.days_b values (102)")).rejects.toThrow(/moved to there/);
  await to.db.query("insert into public.days_a values (102)");
});

it("copies what differs page by page, however much that is", async () => {
  const [from, to] = await withTable("create table public.pages (id int primary key, body text)", "public.pages");
  // Of text that is as long as it is stored.
  await from.db.query(
    `insert into public.pages select n, (select string_agg(md5(concat(n, ' ', m)), '') from generate_series(1, 15000) m)
       from generate_series(1, 12) n`,
  );
  await move({ ...between(from, to), copyOnly: true });
  await to.db.transaction(async (tx) => {
    await tx.query("select set_config('perch.move', s.run::text, true) from perch_move.state s");
    await tx.query("update public.pages set body = 'other'");
  });
  let most = 0;
  const counting: Database = {
    ...to.db,
    transaction: (work) =>
      to.db.transaction((tx) =>
        work({
          ...tx,
          query(sql, params, how) {
            most = Math.max(most, JSON.stringify(params ?? []).length);
            return tx.query(sql, params, how);
          },
        }),
      ),
  };
  await move({ ...between(from, to), to: counting });
  expect(await to.db.query("select count(*) as count from public.pages where length(body) = 480000")).toEqual([
    { count: 12 },
  ]);
  expect(most).toBeLessThan(3_000_000);
});

it("moves a table by a key of an extension's type, in the order and by the equality of that", async () => {
  // In the order of text, all capitals come first.
  const make = `create extension citext schema public;
                create domain public.tag as public.citext;
                create table public.tags (team public.tag, nth int, note text, primary key (team, nth))`;
  const [from, to] = await withTable(make, "public.tags");
  await from.db.query(
    `insert into public.tags select (case when n % 2 = 0 then 'Tag' else 'tag' end) || lpad((n / 3)::text, 5, '0'), n, 'first'
       from generate_series(1, 5000) n`,
  );
  const write = () =>
    from.db.transaction((tx) =>
      tx.script(`update public.tags set note = 'second' where nth = 1; delete from public.tags where nth = 2;
                 update public.tags set team = upper(team), note = 'third' where nth between 3 and 9`),
    );
  // Behind the comparison of all rows.
  await move({ ...between(from, to), from: interposed(from.db, /max\(number\)/, 2, write) });
  const rows = (db: Database) => db.query("select team, nth, note from public.tags order by nth");
  expect(await rows(to.db)).toEqual(await rows(from.db));
  expect((await rows(to.db)).length).toBe(4_999);
});

it("reads no more at once than fits, however little of it is stored", async () => {
  const [from, to] = await withTable("create table public.sums (id int primary key, sum numeric)", "public.sums");
  // Seven bytes, of which each is written in 131,073 digits.
  await from.db.query("insert into public.sums select n, '1e131071' from generate_series(1, 40) n");
  let most = 0;
  const counted: Database["transaction"] = (work, ...rest) =>
    from.db.transaction(
      (tx) =>
        work({
          ...tx,
          async query(sql, ...others) {
            const rows = await tx.query(sql, ...others);
            const texts = rows.map(({ text }) => (typeof text === "string" ? text.length : 0));
            most = Math.max(
              most,
              texts.reduce((sum, length) => sum + length, 0),
            );
            return rows as never;
          },
        }),
      ...rest,
    );
  const write = () => from.db.query("update public.sums set sum = '2e131071'");
  await move({
    ...between(from, to),
    from: { ...interposed(from.db, /max\(number\)/, 2, write), transaction: counted },
  });
  expect(most).toBeGreaterThan(1_000_000);
  expect(most).toBeLessThan(2_100_000);
  const twos = "select count(*) as count from public.sums where sum = '2e131071'";
  expect(await to.db.query(twos)).toEqual([{ count: 40 }]);
});

it("is over for who asks just when it ends", async () => {
  const [from, to] = [await server(), await server()];
  await move({ ...between(from, to), copyOnly: true });
  expect(await moveState(to.db)).toMatchObject({ direction: "in" });
  const ends = interposed(to.db, /from perch_move\.state/, 1, () => to.db.query("drop schema perch_move cascade"));
  expect(await moveState(ends)).toBeUndefined();
});
