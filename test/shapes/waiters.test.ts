import { beforeAll, expect, it } from "vitest";
import { createNotificationHub } from "../../src/notifications/hub.js";
import { readFilter } from "../../src/shapes/filter.js";
import { logMoment } from "../../src/shapes/queries.js";
import { createShapeWaiters, type Heard } from "../../src/shapes/waiters.js";
import { type Waiter, watchOf } from "../../src/shapes/watch.js";
import { describeBothKinds, type TestDatabase } from "../support/databases.js";
import { until } from "../support/until.js";
import { goBackTo, syncTable } from "../tables/support.js";

describeBothKinds("who waits for changes of shapes", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await t.db.query("create table items (id int primary key, team text, n int)");
    await syncTable(t.db, "items", "space_column => 'team'");
  });

  const position = async () => (await logMoment(t.db)).position;

  async function start(whileTried: () => void = () => undefined, fails = "nothing") {
    const hub = createNotificationHub(t.db);
    await hub.start();
    const warnings: unknown[] = [];
    const heard: Record<string, Heard> = {};
    const waiters = createShapeWaiters<Waiter & { readonly name: string }>({
      db: {
        ...t.db,
        async query(sql, params, how) {
          if (sql.includes(fails)) throw new Error("it failed");
          const rows = await t.db.query<never>(sql, params, how);
          if (sql.includes("shape_matches")) whileTried();
          return rows;
        },
      },
      notifications: hub,
      log: { warn: (details) => void warnings.push(details) },
      intervalMs: 10,
      pollMs: 60_000,
      woken({ name }, one) {
        heard[name] = one;
      },
    });
    const wait = async (
      name: string,
      where: string,
      after: bigint,
      spaces = ["north"],
      userId = "ada",
      others: readonly string[] = [],
    ) => {
      const filter = await readFilter(where, {}, "items");
      const columns = { id: { type: "int4" }, team: { type: "text" }, n: { type: "int4" } };
      const place = { appId: "shop", table: "items", schema: "public", relation: "items", columns };
      const { epoch } = await logMoment(t.db);
      const selected = others.map((table) => ({ appId: "shop", table, spaces: new Set(spaces) }));
      const watch = watchOf({ ...place, filter, others: selected, epoch, spaces: new Set(spaces) });
      const waiter = { name, watch, userId, after, upto: 0n };
      const at = waiters.wait(waiter);
      if (at !== undefined) heard[name] = at;
      return waiter;
    };
    const end = async () => {
      waiters.close();
      await hub.close();
    };
    const { leave, readers, knows } = waiters;
    return { wait, heard, warnings, leave, readers, knows, stop: end };
  }

  it("wake those whom a change concerns, before or after it, and nobody else", async () => {
    const { wait, heard, stop, warnings } = await start();
    await t.db.query("insert into items values (1, 'north', 1), (2, 'south', 2)");
    await t.db.query("select perch.sequence_changes()");
    const after = await position();
    for (let n = 0; n < 6; n++) await wait(`is ${n}`, `n = ${n}`, after);
    await wait("all", "", after);
    await wait("may fail", "10 / n = 77", after);
    await wait("elsewhere", "n > 0", after, ["south"]);
    await t.db.query("update items set n = 3 where id = 1");
    await until(() => Object.keys(heard).length >= 4, "those whom it concerns");
    const head = await position();
    expect(Object.fromEntries(Object.entries(heard).sort())).toEqual(
      Object.fromEntries(
        ["all", "is 1", "is 3", "may fail"].map((name) => [name, { found: true, passed: after, upto: head }]),
      ),
    );
    // What there was nothing in is passed over for the others.
    await stop();
    await until(() => Object.keys(heard).length === 9, "everybody to be told that it is over");
    expect(heard["is 5"]).toEqual({ found: false, passed: head, upto: head });
    expect(heard.elsewhere).toEqual({ found: false, passed: head, upto: head });
    expect(warnings).toEqual([]);
  });

  it("try few and short filters of each user, who looks for the others", async () => {
    const { wait, heard, stop, warnings } = await start();
    await t.db.query("insert into items values (7, 'west', 1)");
    await t.db.query("select perch.sequence_changes()");
    const after = await position();
    for (let n = 0; n < 25; n++)
      await wait(`mallory ${n}`, `n between ${1000 + n} and ${1000 + n}`, after, ["west"], "mallory");
    await wait("long", `n not in (${Array.from({ length: 900 }, (_, n) => n + 2000)})`, after, ["west"], "bob");
    for (let n = 0; n < 3; n++) await wait(`ada ${n}`, `n between ${1000 + n} and ${1000 + n}`, after, ["west"]);
    await t.db.query("update items set n = 3 where id = 7");
    await until(() => Object.keys(heard).length >= 6, "those for whom nobody looks");
    await t.db.query("update items set n = 1001 where id = 7");
    await until(() => heard["ada 1"], "those whom it concerns");
    expect(Object.keys(heard).sort()).toEqual(
      ["ada 1", "long", "mallory 1", ...[20, 21, 22, 23, 24].map((n) => `mallory ${n}`)].sort(),
    );
    expect(warnings).toEqual([]);
    await stop();
  });

  it("know by the values that columns have had whom a change concerns, however many wait, and try nothing", async () => {
    let tried = 0;
    const { wait, heard, stop, warnings } = await start(() => void tried++);
    await t.db.query("insert into items values (60, 'north', 1)");
    await t.db.query("select perch.sequence_changes()");
    const after = await position();
    for (let n = 0; n < 300; n++) await wait(`${n}`, `n = ${n}`, after);
    await t.db.query("update items set n = 250 where id = 60");
    await until(() => Object.keys(heard).length >= 2, "those whom it concerns");
    await t.db.query("update items set n = 299 where id = 60");
    await until(() => heard["299"], "whom the next one concerns");
    const upto = (await position()) - 1n;
    expect(heard).toEqual({
      1: { found: true, passed: after, upto },
      250: { found: true, passed: after, upto },
      299: { found: true, passed: upto, upto: upto + 1n },
    });
    expect([tried, warnings]).toEqual([0, []]);
    await stop();
  });

  it("try filters where it cannot be read which values columns have had", async () => {
    let tried = 0;
    const { wait, heard, stop, warnings } = await start(() => void tried++, "changed_values");
    await t.db.query("insert into items values (62, 'north', 1)");
    await t.db.query("select perch.sequence_changes()");
    const after = await position();
    for (const n of [2, 3, 4, 5]) await wait(`${n}`, `n = ${n}`, after);
    await t.db.query("update items set n = 4 where id = 62");
    await until(() => heard["4"], "whom it concerns");
    expect([Object.keys(heard), tried]).toEqual([["4"], 1]);
    expect(warnings.length).toBeGreaterThan(0);
    await stop();
  });

  it("remember what they have found, for who comes back", async () => {
    const { wait, heard, knows, stop } = await start();
    await t.db.query("insert into items values (61, 'north', 1)");
    await t.db.query("select perch.sequence_changes()");
    const before = await position();
    const { epoch } = await logMoment(t.db);
    expect(knows(epoch, before)).toBe(false);
    await wait("first", "n = 7", before);
    await t.db.query("update items set n = 7 where id = 61");
    await until(() => heard.first, "the first change");
    const between = heard.first?.upto as bigint;
    // Nobody waits, and it goes on looking.
    await t.db.query("update items set n = 8 where id = 61");
    // Whoever gives it its number: this look may.
    await until(async () => (await position()) > between, "its number");
    const now = await position();
    await until(() => knows(epoch, now), "the second look");
    await wait("not concerned", "n = 1000", before);
    await wait("concerned by both", "n = 7", before);
    await wait("concerned by the second", "n = 8", before);
    await wait("has read the first", "n = 7", between);
    expect(heard).toMatchObject({
      "concerned by both": { found: true, passed: before, upto: now },
      "concerned by the second": { found: true, passed: between, upto: now },
      "has read the first": { found: true, passed: between, upto: now },
    });
    expect(heard["not concerned"]).toBeUndefined();
    expect([knows(epoch, before - 1n), knows(epoch, now + 1n), knows("another", now)]).toEqual([false, false, false]);
    await stop();
    expect(heard["not concerned"]).toEqual({ found: false, passed: now, upto: now });
  });

  it("tell nothing to who leaves while filters are tried", async () => {
    const here: (() => boolean)[] = [];
    const { wait, heard, stop, leave, readers } = await start(() => here.splice(0).forEach((go) => void go()));
    await t.db.query("insert into items values (90, 'east', 1)");
    await t.db.query("select perch.sequence_changes()");
    const after = await position();
    for (let n = 0; n < 6; n++) {
      const waiter = await wait(`${n}`, `n < ${100 + n}`, after, ["east"]);
      if (n % 2 === 0) here.push(() => leave(waiter) > 0n);
    }
    await t.db.query("update items set n = 3 where id = 90");
    await until(() => heard["5"], "who is still there to be told");
    expect(Object.keys(heard)).toEqual(["1", "3", "5"]);
    expect(readers()).toEqual([]);
    await stop();
  });

  it("tell who comes late of what was before", async () => {
    const { wait, heard, leave, readers, stop } = await start();
    await t.db.query("select perch.sequence_changes()");
    const before = await position();
    await t.db.query("insert into items values (3, 'north', 9)");
    await t.db.query("select perch.sequence_changes()");
    await wait("late", "", before);
    await until(() => heard.late, "what was before");
    expect(heard.late?.found).toBe(true);
    // While another looks already, from further on.
    await wait("other", "n = 1000", await position());
    await wait("further back", "n = 9", before);
    await until(() => heard["further back"], "what was before that");
    expect(heard.other).toBeUndefined();
    // Who has gone is told of nothing.
    const brief = await wait("brief", "n = 1000", await position());
    expect(readers()).toMatchObject([{ table: "items", count: 2 }]);
    leave(brief);
    leave(brief);
    expect(readers()).toMatchObject([{ table: "items", count: 1 }]);
    await stop();
    expect(heard).toMatchObject({ other: { found: false } });
    expect(heard.brief).toBeUndefined();
  });

  it("are told of whole transactions, whichever of their tables is asked about", async () => {
    const { wait, heard, stop } = await start();
    await t.db.query("create table people (id int primary key, team text)");
    await syncTable(t.db, "people", "space_column => 'team'");
    await t.db.query("select perch.sequence_changes()");
    const before = await position();
    await wait("first", "", before);
    await t.db.transaction(async (tx) => {
      await tx.query("insert into items values (70, 'north', 1)");
      await tx.query("insert into people values (1, 'north')");
    });
    await wait("keeps it looking", "", await position(), ["nowhere"]);
    await until(() => heard.first, "the look");
    await wait("late", "", before, ["north"], "ada", ["people"]);
    await wait("late, of one table", "", before);
    await until(() => heard.late && heard["late, of one table"], "what was before");
    const whole = { found: true, passed: before, upto: before + 2n };
    expect(heard).toEqual({ first: whole, late: whole, "late, of one table": whole });
    await stop();
  });

  it("are told of no position of a log that is gone", async () => {
    const { wait, heard, stop } = await start();
    await t.db.query("select perch.sequence_changes()");
    const before = await position();
    await wait("from before", "", before, ["nowhere"]);
    await wait("of what is lost", "", before);
    await t.db.query("insert into items select n, 'north' from generate_series(50, 54) n");
    await until(() => heard["of what is lost"], "what will be lost");
    expect(heard["of what is lost"]?.upto).toBe(before + 5n);
    await goBackTo(t.db, before);
    await wait("new", "", before);
    await wait("elsewhere", "", before, ["nowhere"]);
    await until(() => heard["from before"], "who waits in a log that is gone to be sent away");
    await t.db.query("insert into items values (55, 'north')");
    await until(() => heard.new, "what is new");
    expect(heard.new).toEqual({ found: true, passed: before, upto: before + 1n });
    expect(heard.elsewhere).toBeUndefined();
    await stop();
    await until(() => heard.elsewhere, "its end");
    expect(heard.elsewhere).toEqual({ found: false, passed: before + 1n, upto: before + 1n });
  });

  it("wake everybody when filters cannot be tried", async () => {
    const { wait, heard, stop, warnings } = await start();
    await t.db.query("select perch.sequence_changes()");
    const after = await position();
    // The last is compared with what is no number.
    for (const where of ["n < 1", "n < 2", "n < 'x'"]) await wait(where, where, after);
    await t.db.query("insert into items values (4, 'north', 7)");
    await until(() => Object.keys(heard).length === 3, "all of them");
    expect(warnings).toHaveLength(1);
    await stop();
  });
});
