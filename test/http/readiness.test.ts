import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { notificationQueue } from "../../src/cli/doctor-sessions.js";
import { migrate } from "../../src/database/migrate.js";
import { openPostgres, type PostgresOptions } from "../../src/database/postgres.js";
import { createReadiness } from "../../src/http/readiness.js";
import { cleanup, startNode, until } from "../gateway/support.js";
import { emptyDatabase, postgres, type TestDatabase } from "../support/databases.js";
import { startPostgresServer } from "../support/postgres-server.js";

const log = pino({ level: "silent" });

describe("readiness", () => {
  const open = postgres();

  const ready = async (node: { gateway: { url: string } }) => {
    const response = await fetch(`${node.gateway.url}/readyz`);
    return { status: response.status, body: await response.text() };
  };

  it("means that the database was migrated", async () => {
    const t = await open();
    const empty = openPostgres({ url: await emptyDatabase() });
    cleanup(() => empty.close());
    const node = await startNode(t, { db: empty });
    expect((await ready(node)).status).toBe(503);
    expect(await ready(await startNode(t))).toEqual({ status: 200, body: '{"status":"ready"}' });
  });

  it("means that the database takes writes", async () => {
    const t = await open();
    const name = new URL(String(t.url)).pathname.slice(1);
    await t.db.query(`alter database ${name} set default_transaction_read_only = on`);
    const db = await t.connect();
    const node = await startNode(t, { db });
    const reply = await ready(node);
    expect(reply.status).toBe(503);
    expect(reply.body).toContain("only reads");
    expect((await fetch(`${node.gateway.url}/healthz`)).status).toBe(200);
  });

  it("does not stand behind those who keep all connections busy", async () => {
    const t = await open();
    const db = openPostgres({ url: String(t.url), poolSize: 1 });
    cleanup(() => db.close());
    const node = await startNode(t, { db });
    let release = () => {};
    const holding = new Promise<void>((resolve) => {
      release = resolve;
    });
    const busy = db.transaction(async (tx) => {
      await tx.query("select 1");
      await holding;
    });
    await until(() => db.stats().idle === 0 && db.stats().open === 1);
    expect(await ready(node)).toEqual({ status: 200, body: '{"status":"ready"}' });
    const metrics = await (await fetch(`${node.gateway.url}/metrics`)).text();
    expect(metrics).toContain("perch_database_up 1");
    release();
    await busy;
  });

  it("ends when the database cannot store what clients send, and comes back with the first write or after a while", async () => {
    const t = await open();
    let now = 0;
    const readiness = createReadiness(t.db, log, () => now);
    readiness.writeFailed(Object.assign(new Error("a value is wrong"), { code: "22P02" }));
    readiness.writeFailed("not even an error");
    expect(await readiness.trouble()).toBeUndefined();
    const diskFull = Object.assign(new Error("could not extend file"), { code: "53100" });
    readiness.writeFailed(diskFull);
    expect(await readiness.trouble()).toContain("no writes");
    readiness.wrote();
    expect(await readiness.trouble()).toBeUndefined();
    readiness.writeFailed(diskFull);
    expect(await readiness.trouble()).toContain("no writes");
    now += 60_000;
    expect(await readiness.trouble()).toBeUndefined();
  });
});

/** Nodes on a server whose queue of notifications is small. */
async function smallQueue() {
  const server = await startPostgresServer({ settings: { max_notify_queue_pages: "64" } });
  cleanup(() => server.close());
  const opened = (options: Partial<PostgresOptions> = {}) => {
    const db = openPostgres({ url: server.url(), onError: () => undefined, ...options });
    cleanup(() => db.close());
    return db;
  };
  await migrate(opened());
  let changes = 0;
  async function node() {
    const db = opened();
    const { gateway } = await startNode({ db, login: async () => db } as unknown as TestDatabase);
    const ask = async (path: string, init: RequestInit = {}) => {
      const response = await fetch(gateway.url + path, { headers: { authorization: "Bearer ada" }, ...init });
      return { status: response.status, retryAfter: response.headers.get("retry-after"), text: await response.text() };
    };
    const push = () => {
      const change = { op: "insert", table: "t", id: `${changes++}`, space_id: null };
      return ask("/v1/push", {
        method: "POST",
        body: JSON.stringify({ app_id: "a", client_id: "c", changes: [change] }),
      });
    };
    return { db, ask, push };
  }
  return { opened, node };
}

it("a full queue of notifications is 503, no readiness, and seen by doctor and metrics, until it has been read", async () => {
  const { opened, node } = await smallQueue();
  const { db, ask, push } = await node();
  const full = async () => ({
    ready: (await ask("/readyz")).status,
    doctor: (await notificationQueue(db))[0]?.level,
    ratio: Number(/^perch_notify_queue_ratio ([\d.e-]+)$/m.exec((await ask("/metrics")).text)?.[1]),
  });
  expect((await push()).status).toBe(200);
  expect(await full()).toEqual({ ready: 200, doctor: "ok", ratio: expect.closeTo(0, 1) });

  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const listener = opened({ poolSize: 1 });
  await listener.query("listen somewhere");
  let stuck: Promise<void> = Promise.resolve();
  await new Promise<void>((begun) => {
    stuck = listener.transaction(async (tx) => {
      await tx.query("select 1");
      begun();
      await held;
    });
  });
  const fill = async () => {
    // Down to a room that no notification of a push fits into.
    for (const [count, bytes] of [
      [8, 7_000],
      [1, 7_000],
      [1, 20],
    ])
      await (async () => {
        for (;;)
          await db.query(
            "select pg_notify('somewhere', repeat('x', $2::int) || n) from generate_series(1, $1::int) n",
            [count, bytes],
          );
      })().catch((error: unknown) => expect(error).toMatchObject({ code: "54000" }));
  };
  await fill();
  // What is pushed is committed as long as its notification has room in the last page.
  await until(async () => (await push()).status !== 200);
  expect(await push()).toMatchObject({ status: 503, retryAfter: expect.stringMatching(/^\d+$/) });
  expect((await ask("/readyz")).text).toContain("queue of notifications");
  expect(await full()).toMatchObject({ ready: 503, doctor: "error" });
  // The figures are kept for some seconds.
  await until(async () => (await full()).ratio > 0.9);
  release();
  await stuck;
  await until(async () => (await push()).status === 200);
  await until(async () => (await ask("/readyz")).status === 200);
  await until(async () => (await notificationQueue(db))[0]?.level === "ok");
});

it("a queue of notifications that one transaction has filled is passed over by nodes that write and nodes that do not", async () => {
  const { opened, node } = await smallQueue();
  const nodes = [await node(), await node()] as const;
  const heard: string[] = [];
  for (const [n, { db }] of nodes.entries())
    await db.listen(["news"], { notify: (_, news) => heard.push(`${n} ${news}`), ready: () => undefined });
  const db = opened();
  const tooMany = "select pg_notify('somewhere', repeat('x', 7000) || n) from generate_series(1, 200) n";
  await expect(db.query(tooMany)).rejects.toMatchObject({ code: "54000" });
  // Nobody was woken, nobody is in a transaction, and nothing that notifies can be committed.
  expect((await notificationQueue(db))[0]).toMatchObject({ level: "error", detail: expect.stringContaining("100 %") });
  const [writing, reading] = nodes;
  expect((await writing.push()).status).toBe(503);
  expect((await reading.ask("/readyz")).status).toBe(503);
  await until(async () => (await writing.push()).status === 200);
  expect((await notificationQueue(db))[0]?.level).toBe("ok");
  await db.query("select pg_notify('news', 'good')");
  await until(() => heard.includes("0 good") && heard.includes("1 good"));
  expect(heard.length).toBe(2);
});
