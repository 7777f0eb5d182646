/** What a pool takes from a server, and for how long, whatever the server does. */
import fc from "fast-check";
import { pino } from "pino";
import { afterEach, expect, it } from "vitest";
import { watchMessages } from "../../src/database/message-limit.js";
import { MessageTooLarge } from "../../src/database/message-too-large.js";
import { migrate } from "../../src/database/migrate.js";
import { openPostgres, type PostgresOptions } from "../../src/database/postgres.js";
import type { Database } from "../../src/database/types.js";
import { createReadiness } from "../../src/http/readiness.js";
import { describeSomePostgres, postgres } from "../support/databases.js";
import { startPostgresServer } from "../support/postgres-server.js";
import { startTransactionPooler } from "../support/transaction-pooler.js";
import { pause, until } from "../support/until.js";

const log = pino({ level: "silent" });
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

function opened(url: string | undefined, options: Partial<PostgresOptions> = {}): Database {
  const db = openPostgres({ url: url ?? "", onError: () => undefined, ...options });
  closers.push(() => db.close());
  return db;
}

it("a message over the limit is noticed at its header, however what is sent is cut", () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(300), { maxLength: 20 }),
      fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1 }),
      (lengths, cuts) => {
        const limit = 200;
        const all = Buffer.concat(
          lengths.map((length) => {
            const message = Buffer.alloc(5 + length, 0xff);
            message.writeUInt32BE(4 + length, 1);
            return message;
          }),
        );
        const seen: number[] = [];
        const watch = watchMessages(limit, (bytes) => seen.push(bytes));
        const over = lengths.findIndex((length) => 4 + length > limit);
        const headerEnd = lengths.slice(0, over).reduce((sum, length) => sum + 5 + length, 0) + 5;
        let at = 0;
        for (let n = 0; at < all.length && seen.length === 0; n++) {
          const end = at + (cuts[n % cuts.length] ?? 1);
          watch(all.subarray(at, end));
          at = end;
          expect(seen.length > 0).toBe(over >= 0 && at >= headerEnd);
        }
        expect(seen).toEqual(over < 0 ? [] : [4 + (lengths[over] ?? 0)]);
      },
    ),
  );
});

describeSomePostgres("an answer that is too large", (open) => {
  it("fails what asked for it, and costs its connection and nothing else", async () => {
    const { url } = await open();
    const db = opened(url, { maxMessageBytes: 2 ** 20, poolSize: 2 });
    const large = "select repeat('x', 2000000) as x";
    const beside = db.query("select pg_sleep(0.3), 1 as n");
    await expect(db.query(large)).rejects.toThrow(MessageTooLarge);
    await expect(db.transaction((tx) => tx.query(large))).rejects.toThrow(MessageTooLarge);
    expect(await beside).toMatchObject([{ n: 1 }]);
    const rows = await db.query<{ x: string }>("select repeat('x', 1000000) as x from generate_series(1, 5)");
    expect(rows.map(({ x }) => x.length)).toEqual(rows.map(() => 1_000_000));
  });

  it("is one that no string of JavaScript could hold, and the process lives", async () => {
    const { url } = await open();
    const db = opened(url);
    await expect(db.query("select repeat('x', 600000000) as x")).rejects.toThrow(MessageTooLarge);
    expect(await db.query("select 1 as n")).toEqual([{ n: 1 }]);
  });

  it("fails what asked for it behind a proxy as well", async () => {
    const { url } = await open();
    const pooler = await startTransactionPooler(Number(new URL(url ?? "").port));
    closers.push(() => pooler.close());
    const db = opened(pooler.url(url ?? ""), { maxMessageBytes: 2 ** 20 });
    await expect(db.query("select repeat('x', 2000000) as x")).rejects.toThrow(MessageTooLarge);
    expect(await db.query("select 1 as n")).toEqual([{ n: 1 }]);
  });
});

describeSomePostgres("a statement that takes too long", (open) => {
  it.each([false, true])("is ended by the server before it is given up here, through a proxy: %s", async (pooled) => {
    const t = await open();
    await t.db.query("create table held (n int)");
    let address = t.url ?? "";
    if (pooled) {
      const pooler = await startTransactionPooler(Number(new URL(address).port));
      closers.push(() => pooler.close());
      address = pooler.url(address);
    }
    const db = opened(address, { queryTimeoutMs: 2_000, applicationName: "bounded" });
    await t.db.transaction(async (tx) => {
      await tx.query("lock table held");
      const asked = Array.from({ length: 3 }, () => db.query("select from held"));
      const outcomes = await Promise.allSettled(asked);
      expect(new Set(outcomes.map((outcome) => outcome.status === "rejected" && outcome.reason.code))).toEqual(
        new Set(["57014"]),
      );
      const waiting = "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
      expect(await tx.query(waiting)).toEqual([]);
    });
    expect(await db.query("select from held")).toEqual([]);
  });
});

it("commits that do not end keep as many connections as there may be, are seen, and go on afterwards", async () => {
  const server = await startPostgresServer({ settings: { synchronous_commit: "on" } });
  closers.push(() => server.close());
  const dba = opened(`${server.url()}?options=-c%20synchronous_commit%3Dlocal`);
  await migrate(dba);
  await dba.query("create table public.written (n int)");
  const standbys = async (names: string) => {
    await dba.query(`alter system set synchronous_standby_names = '${names}'`);
    await dba.query("select pg_reload_conf()");
  };
  await standbys("nosuch");
  await until(async () => (await dba.query("select from pg_settings where setting = 'nosuch'")).length === 1);
  const db = opened(server.url(), { queryTimeoutMs: 1_000, poolSize: 3, applicationName: "waits" });
  const backends = async () => {
    const [row] = await dba.query<{ count: number }>(
      "select count(*) as count from pg_stat_activity where application_name = 'waits' and wait_event = 'SyncRep'",
    );
    return row?.count ?? 0;
  };
  const write = () => db.query("insert into public.written values (1)").catch((error: unknown) => error);
  const writes = Array.from({ length: 12 }, write);
  expect(await Promise.race(writes)).toBeInstanceOf(Error);
  // For twice the time after which a statement is given up, in which there was one more each time.
  for (let look = 0; look < 20; look++) {
    expect(await backends()).toBeLessThanOrEqual(3);
    await pause(100);
  }
  expect(db.stats().oldestMs).toBeGreaterThan(1_000);
  const readiness = createReadiness(db, log);
  await until(async () => (await readiness.trouble())?.includes("synchronous standby") ?? false);

  await standbys("");
  await until(async () => (await backends()) === 0);
  await Promise.all(writes);
  await until(async () => (await db.query("select 1 as n").catch(() => [])).length === 1);
  expect(await readiness.trouble()).toBeUndefined();
});

it("a process makes do with the connections that the server has left", async () => {
  const server = await startPostgresServer({ settings: { max_connections: "6", superuser_reserved_connections: "0" } });
  closers.push(() => server.close());
  const db = opened(server.url(), { poolSize: 30 });
  for (let round = 0; round < 3; round++) {
    const asked = Array.from({ length: 60 }, (_, n) => db.query(`select pg_sleep(0.005), ${n} as n`));
    expect((await Promise.all(asked)).flat().length).toBe(60);
  }
});

const here = postgres();

it("a transaction that asks nothing is ended by the server after a while", async () => {
  const { url } = await here();
  const db = opened(url, { idleTransactionMs: 300, applicationName: "idles" });
  const server = opened(url);
  const work = db.transaction(async (tx) => {
    await tx.query("create table never (n int)");
    await until(
      async () => (await server.query("select from pg_stat_activity where application_name = 'idles'")).length === 0,
    );
    await tx.query("select 1");
  });
  await expect(work).rejects.toThrow();
  expect(await db.query("select to_regclass('never') as found")).toEqual([{ found: null }]);
});
