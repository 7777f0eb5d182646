import { beforeAll, expect, it } from "vitest";
import { createShapeChanges } from "../../src/http/shape/changes.js";
import type { Opened, ShapeReading } from "../../src/http/shape/reading.js";
import type { ShapeRequest } from "../../src/http/shape/request.js";
import { readFilter, tablesIn } from "../../src/shapes/filter.js";
import { definitionOf } from "../../src/shapes/handle.js";
import { logMoment, openShape } from "../../src/shapes/queries.js";
import { describeBothKinds, type TestDatabase } from "../support/databases.js";
import { sequence, syncTable } from "../tables/support.js";

describeBothKinds("who asks at once what happened to shapes", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await t.db.query("create table items (id int primary key, team text, n int)");
    await syncTable(t.db, "items", "space_column => 'team'");
    await t.asUser("ada", (tx) => tx.query("select perch.create_space('red')"));
    for (const user of ["ben", "cleo"])
      await t.asUser("ada", (tx) => tx.query("select perch.set_space_member('red', $1, 'viewer')", [user]));
  });

  /** Opens shapes, counting how often, in whose name. */
  function counted(table = "items") {
    const opens: string[] = [];
    const openFor: ShapeReading["open"] = ({ userId }, ask, work) => {
      opens.push(userId);
      return t.asUser(userId, async (tx) => {
        const { schema, table, filter, columns, whole, changesOnly } = ask;
        const opened = await openShape(tx, ask);
        const selected = [];
        for (const other of tablesIn(filter)) selected.push(await openShape(tx, other));
        const others = selected.map(({ definition }) => definition);
        const shape = definitionOf(opened.definition, schema, table, filter, columns, whole, changesOnly, ...others);
        return work(tx, { ...opened, selected, shape });
      });
    };
    const changes = createShapeChanges(
      {
        open: openFor,
        readsTogether: true,
        together: ({ userId }, work) => {
          opens.push(`${userId}, for many`);
          return t.db.transaction(work);
        },
      },
      { shapeChunkBytes: 4_000_000 },
    );
    const askFor = async (where: string): Promise<ShapeRequest> =>
      ({
        ...{ schema: "public", table, columns: null, where, whole: false, changesOnly: false },
        filter: await readFilter(where, {}, table),
      }) as unknown as ShapeRequest;
    const openedFor = async (userId: string, ask: ShapeRequest): Promise<Opened> =>
      openFor({ userId }, ask, async (_, opened) => opened);
    return { opens, changes, askFor, openedFor };
  }

  async function written(sql: string) {
    const lsn = (await logMoment(t.db)).position;
    await t.db.query(sql);
    await sequence(t.db);
    return { lsn, op: 0n, upto: (await logMoment(t.db)).position, since: undefined };
  }

  it("passes over what the first snapshot showed, and nothing else", async () => {
    const { opens, changes, askFor, openedFor } = counted();
    const ask = await askFor("n > 0");
    const identity = { userId: "ada" };
    const opened = await openedFor("ada", ask);
    const { position: lsn } = await logMoment(t.db);
    await t.db.query("insert into items select 10000 + n, 'red', 1 from generate_series(1, 2000) n");
    const { snapshot } = await logMoment(t.db);
    await t.db.query("insert into items values (9000, 'red', 1), (9001, 'red', 1)");
    await t.db.query("insert into items select 20000 + n, 'red', 1 from generate_series(1, 10) n");
    await sequence(t.db);
    const { position: upto } = await logMoment(t.db);
    opens.length = 0;
    const from = { lsn, op: 0n, upto, since: snapshot };
    const passed = await changes.passOver(identity, ask, from);
    expect(passed).toEqual({ lsn: upto - 12n, op: 0n });
    expect(opens).toEqual(["ada, for many"]);
    const page = await changes.read(identity, ask, opened, { ...from, ...passed });
    expect(page?.messages.map((message) => JSON.parse(message).value.id)).toEqual(
      expect.arrayContaining(["9000", "9001", "20001"]),
    );
    expect(page?.messages).toHaveLength(12);

    opens.length = 0;
    // What it was not shown is where it is; it is not far behind; what it was shown is not known; its filter looks at other tables.
    expect(await changes.passOver(identity, ask, { ...from, ...passed, upto: upto + 5000n })).toEqual(passed);
    expect(opens).toHaveLength(1);
    const stays = { lsn, op: 0n };
    expect(await changes.passOver(identity, ask, { ...from, upto: lsn + 1000n })).toEqual(stays);
    expect(await changes.passOver(identity, ask, { ...from, since: undefined })).toEqual(stays);
    const selecting = await askFor("id in (select id from items)");
    expect(await changes.passOver(identity, selecting, from)).toEqual(stays);
    expect(opens).toHaveLength(1);
  });

  /** Ids that each of these is told of, all asking at once, and in whose name was read. */
  async function told(readers: readonly (readonly [user: string, where: string])[], sql: string) {
    const { opens, changes, askFor, openedFor } = counted();
    const from = await written(sql);
    const asked = [];
    for (const [userId, where] of readers) {
      const ask = await askFor(where);
      asked.push({ identity: { userId }, ask, opened: await openedFor(userId, ask) });
    }
    // Each has read before: a filter is read by itself once before it is read with others.
    for (const { identity, ask, opened } of asked)
      await changes.read(identity, ask, opened, { ...from, upto: from.lsn }).catch(() => undefined);
    opens.length = 0;
    const pages = await Promise.all(
      asked.map(({ identity, ask, opened }) =>
        changes.read(identity, ask, opened, from).then(
          (page) => page?.messages.map((message) => Number(JSON.parse(message).value.id)),
          () => "failed",
        ),
      ),
    );
    return { pages, opens };
  }

  it("share a statement when their shapes differ in their filters alone", async () => {
    const readers = Array.from(
      { length: 30 },
      (_, n) => [`${["ada", "ben", "cleo"][n % 3]}`, `n = ${n % 10}`] as const,
    );
    const { pages, opens } = await told(readers, "insert into items select n, 'red', n from generate_series(1, 5) n");
    const ids = (n: number) => (n >= 1 && n <= 5 ? [n] : []);
    expect(pages).toEqual(readers.map((_, n) => ids(n % 10)));
    expect(opens).toEqual(["ada, for many"]);
  });

  it("read for themselves what may fail, which makes nothing of the others' fail", async () => {
    const { pages, opens } = await told(
      [
        ["ada", "n = 7"],
        ["ada", "n > 6"],
        ["ada", "n = 'seven'"],
        ["ada", "10 / (n - 7) = 1"],
      ],
      "insert into items values (17, 'red', 7)",
    );
    expect(pages).toEqual([[17], [17], "failed", "failed"]);
    expect(opens).toEqual(["ada, for many", "ada", "ada"]);
    const safe = await told(
      [
        ["ada", "n = 8"],
        ["ada", "10 / n = 1"],
      ],
      "insert into items values (18, 'red', 8)",
    );
    expect(safe.pages).toEqual([[18], [18]]);
    expect(safe.opens).toEqual(["ada, for many", "ada"]);
  });

  it("read once by themselves, and are read for themselves again when a filter has come to fail", async () => {
    await t.db.query("create type mood as enum ('sad', 'ok')");
    await t.db.query("create table days (id int primary key, team text, mood mood)");
    await syncTable(t.db, "days", "space_column => 'team'");
    const { opens, changes, askFor, openedFor } = counted("days");
    const asks = await Promise.all(["mood = 'ok'", "id > 0"].map(askFor));
    const opened = await Promise.all(asks.map((ask) => openedFor("ada", ask)));
    const read = async (from: Awaited<ReturnType<typeof written>>) => {
      opens.length = 0;
      return Promise.all(
        asks.map((ask, nth) =>
          changes.read({ userId: "ada" }, ask, opened[nth] as Opened, from).then(
            (page) => page?.messages.length,
            () => "failed",
          ),
        ),
      );
    };
    expect(asks.map((ask, nth) => changes.isProven(ask, opened[nth] as Opened))).toEqual([false, false]);
    expect([await read(await written("insert into days values (1, 'red', 'ok')")), opens]).toEqual([
      [1, 1],
      ["ada", "ada"],
    ]);
    expect([await read(await written("insert into days values (2, 'red', 'sad')")), opens]).toEqual([
      [0, 1],
      ["ada, for many"],
    ]);
    await t.db.query("alter type mood rename value 'ok' to 'fine'");
    // Together all fail, and then it is known whose fault that is.
    expect([await read(await written("insert into days values (3, 'red', 'sad')")), opens]).toEqual([
      ["failed", 1],
      ["ada, for many", "ada", "ada"],
    ]);
    expect(asks.map((ask, nth) => changes.isProven(ask, opened[nth] as Opened))).toEqual([false, true]);
    expect([await read(await written("insert into days values (4, 'red', 'sad')")), [...opens].sort()]).toEqual([
      ["failed", 1],
      ["ada", "ada, for many"],
    ]);
  });

  it("may not fill the statement of another", async () => {
    const many = Array.from({ length: 40 }, (_, n) => ["ada", `n = ${n}`] as const);
    const { pages, opens } = await told(many, "update items set n = 39 where id = 1");
    expect(pages).toEqual(many.map((_, n) => (n === 39 || n === 1 ? [1] : [])));
    expect(opens.length).toBeGreaterThan(1);
    expect(opens.length).toBeLessThan(10);
  });
});
