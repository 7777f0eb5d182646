import { connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, expect, it } from "vitest";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database } from "../../src/database/types.js";
import { describeEachPostgres, postgres } from "../support/databases.js";
import { startPostgresServer } from "../support/postgres-server.js";
import { pause, until } from "../support/until.js";

/** Out: when they are gone. */
async function endBackends(db: Database, applicationName: string): Promise<void> {
  const ended = await db.query<{ pid: number }>(
    `select pid, pg_terminate_backend(pid) from pg_stat_activity
      where application_name = $1 and datname = current_database()`,
    [applicationName],
  );
  const pids = ended.map(({ pid }) => pid);
  await until(
    async () => (await db.query("select from pg_stat_activity where pid = any ($1::int[])", [pids])).length === 0,
  );
}

const closers: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

function opened(
  url: string | undefined,
  options: { onError?: (error: Error) => void; listenUrl?: string } = {},
): Database {
  const db = openPostgres({ url: url ?? "", applicationName: "under test", ...options });
  closers.push(() => db.close());
  return db;
}

describeEachPostgres("a pool", (open) => {
  it("replaces idle connections that the server ended, and says so", async () => {
    const { db, url } = await open();
    const errors: Error[] = [];
    const pool = opened(url, { onError: (error) => errors.push(error) });
    await pool.query("select 1");
    await endBackends(db, "under test");
    await until(() => errors.length > 0);
    expect(await pool.query("select 2 as n")).toEqual([{ n: 2 }]);
  });

  it("fails a transaction whose connection the server ends between two statements, and goes on with another", async () => {
    const { db, url } = await open();
    const pool = opened(url);
    const work = pool.transaction(async (tx) => {
      await tx.query("create table never (n int)");
      await endBackends(db, "under test");
      await tx.query("select 1");
    });
    await expect(work).rejects.toThrow();
    expect(await pool.query("select to_regclass('never') as found")).toEqual([{ found: null }]);
  });

  it("does not call a transaction committed when the connection ends before its COMMIT", async () => {
    const { db, url } = await open();
    const pool = opened(url);
    const work = pool.transaction(async (tx) => {
      await tx.query("create table never (n int)");
      await endBackends(db, "under test");
    });
    await expect(work).rejects.toThrow();
    expect(await pool.query("select to_regclass('never') as found")).toEqual([{ found: null }]);
  });

  it("leaves nothing of a transaction's settings and role on the pooled connection", async () => {
    const { url } = await open();
    const pool = openPostgres({ url: url ?? "", poolSize: 1 });
    closers.push(() => pool.close());
    await pool.transaction(async (tx) => {
      await tx.query("set local role perch_app");
      await tx.query("select perch.set_context(user_id => 'ada')");
    });
    const left =
      "select current_user = session_user as self, perch.current_user_id() as user_id, perch.current_space_ids() as spaces";
    expect(await pool.query(left)).toEqual([{ self: true, user_id: null, spaces: [] }]);
  });
});

describeEachPostgres("listening", (open) => {
  it("listens again after its connection was ended, and says that something may have been missed", async () => {
    const { db, url } = await open();
    const heard: string[] = [];
    const pool = opened(url);
    await pool.listen(["perch_one"], {
      ready: () => heard.push("ready"),
      notify: (_, payload) => heard.push(payload),
      lost: () => heard.push("lost"),
    });
    for (let round = 1; round <= 3; round += 1) {
      heard.length = 0;
      await endBackends(db, "under test");
      await until(() => heard.includes("ready"));
      await db.query(`notify perch_one, '${round}'`);
      await until(() => heard.includes(String(round)));
      expect(heard).toEqual(["lost", "ready", String(round)]);
    }
  });

  it("fails at once when the first connection cannot be made", async () => {
    const pool = opened("postgres://nobody@127.0.0.1:1/none");
    await expect(pool.listen(["a"], { ready: () => undefined, notify: () => undefined })).rejects.toThrow(
      "ECONNREFUSED",
    );
  });

  it("listens on the direct URL when the other goes through a proxy", async () => {
    const { db, url } = await open();
    const heard: string[] = [];
    const pool = opened("postgres://nobody@127.0.0.1:1/none", { listenUrl: url ?? "" });
    await pool.listen(["perch_one"], { ready: () => undefined, notify: (_, payload) => heard.push(payload) });
    await db.query("notify perch_one, 'direct'");
    await until(() => heard.length === 1);
  });
});

/** A proxy whose connections can be cut, or carry nothing any more, as a network does. */
async function proxy(port: number): Promise<{ url: string; cut(): void; freeze(): void; server: Server }> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(port, "127.0.0.1");
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => sockets.delete(socket));
    }
    client.pipe(upstream).pipe(client);
    client.on("close", () => upstream.destroy());
    upstream.on("close", () => client.destroy());
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  closers.push(
    () =>
      new Promise((done) => {
        server.close(done);
        for (const socket of sockets) socket.destroy();
      }),
  );
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no address");
  return {
    url: `postgres://postgres@127.0.0.1:${address.port}/postgres`,
    server,
    cut() {
      for (const socket of sockets) socket.destroy();
    },
    freeze() {
      for (const socket of sockets) socket.unpipe().pause();
    },
  };
}

const here = postgres();

it("listens again after a longer absence of the server, for which it waits without giving up", async () => {
  const server = await startPostgresServer();
  closers.push(() => server.close());
  const heard: string[] = [];
  const pool = opened(server.url(), { onError: () => undefined });
  await pool.listen(["perch_one"], {
    ready: () => heard.push("ready"),
    notify: (_, payload) => heard.push(payload),
    lost: () => heard.push("lost"),
  });
  await server.kill();
  // pg-listen's own default gives up after three seconds.
  await pause(4_000);
  expect(heard).toEqual(["ready", "lost"]);
  await server.start();
  await until(() => heard.length === 3);
  expect(heard).toEqual(["ready", "lost", "ready"]);
  await pool.query("notify perch_one, 'again'");
  await until(() => heard.length === 4);
});

it("closes in bounded time while the server answers nothing any more", async () => {
  const { url } = await here();
  const between = await proxy(Number(new URL(url ?? "").port));
  const pool = opened(between.url, { onError: () => undefined });
  await pool.listen(["perch_one"], { ready: () => undefined, notify: () => undefined });
  await Promise.all([pool.query("select 1"), pool.query("select 1")]);
  between.freeze();
  const asked = pool.query("select 1").catch((error: unknown) => error);
  const inside = pool.transaction((tx) => tx.query("select 1")).catch((error: unknown) => error);
  const started = performance.now();
  await pool.close();
  expect(performance.now() - started).toBeLessThan(10_000);
  expect(await asked).toBeInstanceOf(Error);
  expect(await inside).toBeInstanceOf(Error);
});

it("ends the search for the server when the database is closed", async () => {
  const { url } = await here();
  const target = new URL(url ?? "");
  const between = await proxy(Number(target.port));
  const heard: string[] = [];
  const pool = opened(between.url, { onError: () => undefined });
  await pool.listen(["perch_one"], {
    ready: () => heard.push("ready"),
    notify: () => undefined,
    lost: () => heard.push("lost"),
  });
  let connections = 0;
  between.server.on("connection", (socket) => {
    connections += 1;
    socket.destroy();
  });
  between.cut();
  await until(() => connections >= 2);
  await pool.close();
  const after = connections;
  // It is tried every second or so; what was under way is over by then.
  await pause(3_000);
  expect(connections).toBeLessThanOrEqual(after + 1);
  expect(heard).toEqual(["ready", "lost"]);
});
