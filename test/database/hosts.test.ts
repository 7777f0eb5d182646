/** URLs with several hosts, on real servers; failovers under load are in test/faults/failover.test.ts. */
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { connectClient } from "../../src/database/connect-client.js";
import { isPassing, isUndone } from "../../src/database/errors.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database } from "../../src/database/types.js";
import { type PostgresServer, startPostgresServer } from "../support/postgres-server.js";
import { until } from "../support/until.js";

/** Nothing listens there. */
const gone = "127.0.0.1:1";

describe("a URL that names two servers", () => {
  let servers: readonly [PostgresServer, PostgresServer];
  const urlOf = (hosts: readonly string[], query: string) => `postgres://postgres@${hosts.join(",")}/postgres?${query}`;
  const both = () => servers.map(({ port }) => `127.0.0.1:${port}`);

  beforeAll(async () => {
    servers = [await startPostgresServer(), await startPostgresServer()];
    for (const server of servers) {
      const db = openPostgres({ url: server.url() });
      await db.query("create table written (by text)");
      await db.close();
    }
  });
  afterAll(() => Promise.all(servers.map((server) => server.close())));

  function opened(url: string, poolSize = 10): Database {
    const db = openPostgres({ url, poolSize, onError: () => undefined });
    onTestFinished(() => db.close());
    return db;
  }
  const portOf = async (db: Database) =>
    Number((await db.query<{ port: string }>("select current_setting('port') as port"))[0]?.port);
  async function readOnly(server: PostgresServer, value: "on" | "off"): Promise<void> {
    const db = openPostgres({ url: server.url(), poolSize: 1 });
    await db.query(`alter system set default_transaction_read_only = ${value}`);
    await db.query("select pg_reload_conf()");
    await until(async () => {
      const [row] = await db.query<{ now: string }>("select current_setting('default_transaction_read_only') as now");
      return row?.now === value;
    });
    await db.close();
  }

  it("is connected to at the first that answers: pools, the connection aside, the one that listens, single clients", async () => {
    const [, second] = servers;
    const url = urlOf([gone, `127.0.0.1:${second.port}`], "target_session_attrs=primary");
    const db = opened(url);
    expect(await portOf(db)).toBe(second.port);
    expect(await db.aside.query("select current_setting('port') as port")).toEqual([{ port: String(second.port) }]);
    const heard: string[] = [];
    await db.listen(["news"], { notify: (_, payload) => heard.push(payload), ready: () => undefined });
    await db.query("select pg_notify('news', 'x')");
    await until(() => heard.length === 1);
    const client = await connectClient(url, (place) => new pg.Client(place));
    expect((await client.query("show port")).rows).toEqual([{ port: String(second.port) }]);
    await client.end();
  });

  it("is left for the other when the first only reads any more, and a lone statement is tried there again", async () => {
    const [first, second] = servers;
    const db = opened(urlOf(both(), "target_session_attrs=read-write"));
    expect(await portOf(db)).toBe(first.port);
    // Three connections, each of which is on the first.
    await Promise.all([1, 2, 3].map(() => db.query("select pg_sleep(0.05)")));
    await readOnly(first, "on");
    onTestFinished(() => readOnly(first, "off"));
    // Each session hears of a setting by itself.
    await until(async () => {
      await db.query("delete from written where false");
      return (await portOf(db)) === second.port;
    });
    await db.query("insert into written values ('a statement')");
    await Promise.all(
      [1, 2, 3].map((n) => db.transaction((tx) => tx.query("insert into written values ($1)", [`transaction ${n}`]))),
    );
    expect(await db.query("select count(*) as count from written")).toEqual([{ count: 4 }]);

    // A transaction cannot be tried again by whoever does not know what it is; who sent it may, since nothing of it is there.
    await readOnly(second, "on");
    onTestFinished(() => readOnly(second, "off"));
    let refused: unknown;
    await until(async () => {
      await db
        .transaction((tx) => tx.query("insert into written values ('x')"))
        .catch((error) => {
          refused = error;
        });
      return refused !== undefined;
    });
    expect(refused).toMatchObject({ code: "25006" });
    expect([isPassing(refused), isUndone(refused)]).toEqual([true, true]);
    const nowhere = await db.query("insert into written values ('x')").catch((error) => error);
    expect(String(nowhere)).toMatch(/none of the hosts can be used: .*it only reads/);
    expect(isPassing(nowhere)).toBe(true);
    await readOnly(first, "off");
    await db.query("insert into written values ('on the first')");
    expect(await portOf(db)).toBe(first.port);
  });

  it("is left for the other when the first is gone without a word, and what was asked of it is not waited for", async () => {
    const [first, second] = servers;
    const db = opened(urlOf(both(), "target_session_attrs=read-write"), 2);
    expect(await portOf(db)).toBe(first.port);
    await Promise.all([1, 2].map(() => db.query("select pg_sleep(0.05)")));
    const back = await first.pause();
    onTestFinished(back);
    // All of the pool wait, and no statement has a limit.
    const asked = [1, 2].map((n) => db.query("insert into written values ($1)", [`${n}`]).catch((error) => error));
    expect((await Promise.all(asked)).map(isPassing)).toEqual([true, true]);
    expect(await portOf(db)).toBe(second.port);
  });

  it("is not left because of a transaction that was told only to read", async () => {
    const db = opened(urlOf(both(), "target_session_attrs=read-write"), 1);
    const [{ pid } = { pid: 0 }] = await db.query<{ pid: number }>("select pg_backend_pid() as pid");
    const refused = await db
      .transaction(async (tx) => {
        await tx.query("set transaction read only");
        await tx.query("insert into written values ('x')");
      })
      .catch((error) => error);
    expect(refused).toMatchObject({ code: "25006" });
    expect(await db.query("select pg_backend_pid() as pid")).toEqual([{ pid }]);
  });

  it("has each server looked at before anybody is answered by it, and nobody answered while that fails", async () => {
    const [first, second] = servers;
    const db = opened(urlOf(both(), "target_session_attrs=read-write"));
    const looked: number[] = [];
    let fails = false;
    db.beforeServing?.(async (on) => {
      if (fails) throw new Error("it cannot be looked at");
      looked.push(Number((await on.query<{ port: string }>("select current_setting('port') as port"))[0]?.port));
    });
    await Promise.all([portOf(db), portOf(db)]);
    const before = looked.length;
    expect(new Set(looked)).toEqual(new Set([first.port]));
    await portOf(db);
    expect(looked).toHaveLength(before);
    fails = true;
    await first.kill();
    onTestFinished(() => first.start());
    await until(() =>
      portOf(db).then(
        () => false,
        (error: Error) => /it cannot be looked at/.test(error.message),
      ),
    );
    fails = false;
    expect(await portOf(db)).toBe(second.port);
    expect(looked.at(-1)).toBe(second.port);
  });
});
