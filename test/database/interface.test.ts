import { expect, it } from "vitest";
import { PerchError } from "../../src/errors.js";
import { describeEachEngine } from "../support/databases.js";
import { until } from "../support/until.js";

describeEachEngine("a database", (open) => {
  it("hands out rows of the same types from every engine", async () => {
    const { db } = await open();
    const [row] = await db.query(`
      select 7::int8 as int8, array[1, null, 3]::int8[] as int8s, 2::int4 as int4, 1.5::float8 as float8, 1.50::numeric as numeric,
             '\\x00ff'::bytea as bytes, array['\\x01'::bytea, null, '\\x'] as many, array[]::bytea[] as none,
             array['\\x01ff', '\\x', '\\xc0ffee']::bytea[] as plain, array[array['\\x01'], array['\\x02']]::bytea[] as nested,
             '{"a": [1, null]}'::jsonb as json, array['a,b', null, 'q"uo\\te', '{}', ''] as texts, true as yes, null::text as nothing,
             '2026-01-02T03:04:05.678Z'::timestamptz as at, '2026-01-02'::date as day, '2026-01-02 03:04:05'::timestamp as local,
             '1 day'::interval as span, '8b5c1c5e-5a6b-4d3c-9c46-0a3c7b2a1d00'::uuid as id, row(1, 'x') as pair`);
    expect(row).toStrictEqual({
      int8: 7,
      int8s: [1, null, 3],
      int4: 2,
      float8: 1.5,
      numeric: "1.50",
      bytes: new Uint8Array([0, 255]),
      many: [new Uint8Array([1]), null, new Uint8Array()],
      none: [],
      plain: [new Uint8Array([1, 255]), new Uint8Array(), new Uint8Array([0xc0, 0xff, 0xee])],
      nested: [[new Uint8Array([1])], [new Uint8Array([2])]],
      json: { a: [1, null] },
      texts: ["a,b", null, 'q"uo\\te', "{}", ""],
      yes: true,
      nothing: null,
      at: new Date("2026-01-02T03:04:05.678Z"),
      day: new Date("2026-01-02"),
      local: new Date("2026-01-02T03:04:05Z"),
      span: "1 day",
      id: "8b5c1c5e-5a6b-4d3c-9c46-0a3c7b2a1d00",
      pair: "(1,x)",
    });
  });

  it("says how its connections are used", async () => {
    const { db } = await open();
    await db.query("select 1");
    const idle = db.stats();
    expect(idle.open).toBe(idle.idle);
    expect(idle.waiting).toBe(0);
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const transactions = Promise.all(Array.from({ length: idle.max + 5 }, () => db.transaction(() => released)));
    await until(() => db.stats().idle === 0 && db.stats().waiting > 0);
    const busy = db.stats();
    expect(busy.open).toBeLessThanOrEqual(busy.max);
    release();
    await transactions;
    expect(db.stats()).toMatchObject({ idle: db.stats().open, waiting: 0 });
  });

  it("takes parameters of the same types on every engine", async () => {
    const { db } = await open();
    const at = new Date("2026-01-02T03:04:05.678Z");
    const params = [
      [new Uint8Array([1, 2]), null, Buffer.from("abc").subarray(1)],
      ["a,b", null, 'q"uo\\te', "{}", ""],
      [1, 2n, null],
      [true, null, false],
      [],
      new Uint8Array([0, 255]),
      JSON.stringify({ a: 1 }),
      JSON.stringify([1, 2]),
      at,
      5n,
      null,
    ];
    const [row] = await db.query(
      `select $1::bytea[] as many, $2::text[] as texts, $3::bigint[] as numbers, $4::boolean[] as flags, $5::text[] as none,
              $6::bytea as bytes, $7::jsonb as json, $8::jsonb as list, $9::timestamptz as at, $10::bigint as big, $11::text as nothing`,
      params,
    );
    expect(row).toStrictEqual({
      many: [new Uint8Array([1, 2]), null, new Uint8Array([98, 99])],
      texts: ["a,b", null, 'q"uo\\te', "{}", ""],
      numbers: [1, 2, null],
      flags: [true, null, false],
      none: [],
      bytes: new Uint8Array([0, 255]),
      json: { a: 1 },
      list: [1, 2],
      at,
      big: 5,
      nothing: null,
    });
  });

  it("gives bytes a buffer of their own, which can be handed to a thread", async () => {
    const { db } = await open();
    const [row] = await db.query<{ one: Uint8Array<ArrayBuffer>; many: Uint8Array<ArrayBuffer>[] }>(
      "select '\\x010203'::bytea as one, array['\\x04'::bytea] as many",
    );
    expect(row?.one.buffer.byteLength).toBe(3);
    expect(structuredClone(row?.many, { transfer: row?.many.map(({ buffer }) => buffer) ?? [] })).toEqual([
      new Uint8Array([4]),
    ]);
  });

  it("commits what a transaction did, and nothing of one that threw", async () => {
    const { db } = await open();
    await db.query("create table things (n int)");
    expect(await db.transaction((tx) => tx.query("insert into things values (1) returning n"))).toEqual([{ n: 1 }]);
    const failure = new Error("changed my mind");
    await expect(
      db.transaction(async (tx) => {
        await tx.script("insert into things values (2); insert into things values (3)");
        throw failure;
      }),
    ).rejects.toBe(failure);
    expect(await db.query("select n from things")).toEqual([{ n: 1 }]);
  });

  it("does not report as committed what Postgres rolled back because an error was not passed on", async () => {
    const { db } = await open();
    await db.query("create table things (n int primary key)");
    const work = db.transaction(async (tx) => {
      await tx.query("insert into things values (1)");
      await tx.query("insert into things values (1)").catch(() => undefined);
      return "fine";
    });
    await expect(work).rejects.toThrow(/rolled back|aborted/);
    expect(await db.query("select n from things")).toEqual([]);
  });

  it("takes nothing more in a transaction whose first script failed, be it that it is no SQL", async () => {
    const { db } = await open();
    await db.query("create table things (n int)");
    for (const script of ["this is no SQL", "insert into things values (1); select 1 / 0"]) {
      const work = db.transaction(async (tx) => {
        await tx.script(script).catch(() => undefined);
        await tx.query("insert into things values (2)").catch(() => undefined);
        await tx.script("insert into things values (3)").catch(() => undefined);
        return "fine";
      });
      await expect(work).rejects.toThrow(/rolled back|aborted/);
    }
    expect(await db.transaction(async () => "without a statement")).toBe("without a statement");
    expect(await db.query("select n from things")).toEqual([]);
  });

  it("keeps the order of what is asked before anything is answered, and commits with what comes last", async () => {
    const { db } = await open();
    await db.query("create table things (n int primary key, xid xid8 default pg_current_xact_id())");
    const rows = await db.transaction((tx) => {
      void tx.script("insert into things values (1); insert into things values (2)");
      void tx.query("delete from things where n = 1");
      return tx.last("select n, xid = pg_current_xact_id() as same from things");
    });
    expect(rows).toEqual([{ n: 2, same: true }]);

    const duplicate = { code: "23505" };
    const refused = db.transaction(async (tx) => {
      const first = tx.query("insert into things values (2)");
      const second = tx.last("insert into things values (3)");
      await expect(first).rejects.toMatchObject(duplicate);
      return second;
    });
    await expect(refused).rejects.toMatchObject({ code: "25P02" });
    await db.query("alter table things add unique (n) deferrable initially deferred");
    await db.query("alter table things drop constraint things_pkey");
    const atCommit = db.transaction((tx) => tx.last("insert into things values (2) returning n"));
    await expect(atCommit).rejects.toMatchObject(duplicate);
    expect(await db.query("select n from things")).toEqual([{ n: 2 }]);
  });

  it("lets a transaction go on after a savepoint took an error back", async () => {
    const { db } = await open();
    await db.query("create table things (n int primary key)");
    await db.transaction(async (tx) => {
      await tx.query("insert into things values (1)");
      await tx.query("savepoint before");
      await expect(tx.query("insert into things values (1)")).rejects.toMatchObject({ code: "23505" });
      await tx.query("rollback to before");
    });
    expect(await db.query("select n from things")).toEqual([{ n: 1 }]);
  });

  it("throws perch's own errors as PerchError with their detail, from queries, scripts and commits", async () => {
    const { db } = await open();
    const raise = `do $$ begin raise exception 'conflict: no' using errcode = 'PE409', detail = '{"head":"x"}'; end $$`;
    const expected = {
      name: "PerchError",
      code: "PE409",
      word: "conflict",
      message: "conflict: no",
      detail: { head: "x" },
    };
    for (const attempt of [
      () => db.query(raise),
      () => db.transaction((tx) => tx.query(raise)),
      () => db.transaction((tx) => tx.script(raise)),
    ]) {
      const error = await attempt().catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(PerchError);
      expect(error).toMatchObject(expected);
    }
    await db.query("create table late (n int)");
    await db.transaction((tx) =>
      tx.script(`
        create function fail() returns trigger language plpgsql as $f$
        begin raise exception 'conflict: no' using errcode = 'PE409', detail = '{"head":"x"}'; end $f$;
        create constraint trigger late after insert on late deferrable initially deferred for each row execute function fail();`),
    );
    const error = await db
      .transaction((tx) => tx.query("insert into late values (1)"))
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject(expected);
  });

  it("keeps the driver's error and SQLSTATE for everything else", async () => {
    const { db } = await open();
    const error = await db.query("select * from nowhere").catch((thrown: unknown) => thrown);
    expect(error).not.toBeInstanceOf(PerchError);
    expect(error).toMatchObject({ code: "42P01" });
  });

  it("listens: tells that it is ready, then every notification of its channels, of committed work only", async () => {
    const { db } = await open();
    const heard: string[] = [];
    const subscription = await db.listen(["perch_one", "Mixed Case"], {
      ready: () => heard.push("ready"),
      notify: (channel, payload) => heard.push(`${channel}: ${payload}`),
    });
    expect(heard).toEqual(["ready"]);
    await db.query("select pg_notify('perch_one', 'not json'), pg_notify('unheard', 'x'), pg_notify('Mixed Case', '')");
    await db
      .transaction(async (tx) => {
        await tx.query("notify perch_one, 'rolled back'");
        throw new Error("no");
      })
      .catch(() => undefined);
    await db.query("notify perch_one, 'last'");
    await until(() => heard.length === 4);
    expect(heard).toEqual(["ready", "perch_one: not json", "Mixed Case: ", "perch_one: last"]);

    await subscription.close();
    const fence: string[] = [];
    await db.listen(["perch_one"], { ready: () => undefined, notify: (_, payload) => fence.push(payload) });
    await db.query("notify perch_one, 'after closing'");
    await until(() => fence.length === 1);
    expect(heard).toHaveLength(4);
  });

  it("survives a handler of a notification that throws", async () => {
    const { db } = await open();
    const heard: string[] = [];
    const warned = new Promise<Error>((done) => process.once("warning", done));
    await db.listen(["perch_one"], {
      ready: () => undefined,
      notify: (_, payload) => {
        heard.push(payload);
        if (payload === "1") throw new Error("a subscriber's mistake");
      },
    });
    await db.query("notify perch_one, '1'");
    await db.query("notify perch_one, '2'");
    await until(() => heard.length === 2);
    expect((await warned).message).toBe("a subscriber's mistake");
  });

  it("closes once, however often it is asked to, and ends its subscriptions", async () => {
    const t = await open();
    await t.db.listen(["perch_one"], { ready: () => undefined, notify: () => undefined });
    await Promise.all([t.db[Symbol.asyncDispose](), t.db[Symbol.asyncDispose]()]);
    await expect(t.db.query("select 1")).rejects.toThrow();
    await t.db.close();
    await expect(t.db.query("select 1")).rejects.toThrow();
  });
});
