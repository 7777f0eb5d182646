/** The database restarts, drops connections, answers late or not at all: nothing acknowledged is lost, and perch recovers by itself. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Editor } from "../../scripts/faults/editor.js";
import { type PerchProcess, perchProcess } from "../../scripts/support/perch-process.js";
import { migrate } from "../../src/database/migrate.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database } from "../../src/database/types.js";
import { type PostgresServer, startPostgresServer } from "../support/postgres-server.js";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.js";
import {
  acknowledged,
  asLogin,
  expectAllEqual,
  expectNothingLost,
  keepEditing,
  openEditors,
  openQuietly,
  pause,
  prepare,
  readiness,
  storedDocument,
  typed,
  until,
} from "./support.js";

/** In production it may be 30 s; that takes as long. */
const delayMs = Number(process.env.DELAY_MS ?? 3_000);

const users = Array.from({ length: 12 }, (_, n) => `user${n}`);

describe("a node whose database", () => {
  let server: PostgresServer;
  let line: TcpProxy;
  let node: PerchProcess;
  let db: Database;
  let login: string;
  let next = 0;
  /** Given by all editors so far. */
  let votes = 0;
  let editors: Editor[] = [];
  let stop: () => Promise<void> = async () => undefined;

  beforeAll(async () => {
    server = await startPostgresServer();
    db = openQuietly(server.url());
    await migrate(db);
    login = await prepare(db, users);
    line = await startTcpProxy({ port: server.port });
    node = await perchProcess({
      args: ["worker"],
      env: { DATABASE_URL: asLogin(`postgres://x@127.0.0.1:${line.port}/postgres`, login) },
    });
    await node.start();
  });

  afterEach(async () => {
    await stop();
    for (const editor of editors) editor.close();
  });

  afterAll(async () => {
    await node?.kill();
    await line?.close();
    await db?.close();
    await server?.close();
  });

  /** Two editors, each test its own, who begin to edit and have something acknowledged. */
  async function begin(): Promise<void> {
    editors = await openEditors(node.url, users.slice(next, next + 2));
    next += 2;
    stop = keepEditing(editors);
    await until(() => acknowledged(editors) > 10, "edits are acknowledged");
  }

  /** All is well again: ready, everything typed is acknowledged, stored and on every screen, by the same process as before. */
  async function expectRecovery(pid: number | undefined): Promise<void> {
    const before = acknowledged(editors);
    await until(() => acknowledged(editors) > before, "edits are acknowledged again");
    await stop();
    await until(async () => (await readiness(node.httpUrl)).status === 200, "the node is ready");
    // What two people typed past each other for long takes long to merge.
    await until(() => acknowledged(editors) === typed(editors), "everything is acknowledged");
    await expectNothingLost(db, editors);
    await expectAllEqual(db, editors);
    for (const { edits } of editors.flatMap(({ sheets }) => sheets)) {
      votes += edits.filter(({ kind }) => kind === "vote").length;
    }
    // Each counts once, however often it was sent.
    expect((await storedDocument(db)).getCounter("votes").value).toBe(votes);
    expect(node.pid).toBe(pid);
    expect(node.ended).toBe(false);
  }

  const untilNotReady = (reason: RegExp) =>
    until(async () => {
      const now = await readiness(node.httpUrl);
      return now.status === 503 && reason.test(now.reason);
    }, `not ready, because of ${reason}`);

  it("is restarted goes on when it is back, and says meanwhile why it is not ready", async () => {
    const { pid } = node;
    await begin();
    await server.stop();
    await untilNotReady(/the connection that listens|the database does not answer/);
    await server.start();
    await expectRecovery(pid);
  });

  it("crashes goes on when it has recovered", async () => {
    const { pid } = node;
    await begin();
    await server.kill();
    await untilNotReady(/the connection that listens|the database does not answer/);
    await server.start();
    await expectRecovery(pid);
  });

  it("ends all connections, over and over, makes new ones", async () => {
    const { pid } = node;
    await begin();
    for (let round = 0; round < 6; round++) {
      await db.query("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", [login]);
      await pause(250);
    }
    await expectRecovery(pid);
  });

  it("answers late is not ready, waits, and acknowledges what was stored", async () => {
    const { pid } = node;
    await begin();
    line.delayAnswers(delayMs);
    await untilNotReady(/the database does not answer|the connection that listens/);
    const before = acknowledged(editors);
    await until(() => acknowledged(editors) > before, "edits are acknowledged, late");
    await expectNothingLost(db, editors);
    line.delayAnswers(0);
    await expectRecovery(pid);
  });

  it("is cut off in the middle of answering asks again, and stores nothing twice", async () => {
    const { pid } = node;
    await begin();
    for (let round = 0; round < 5; round++) {
      line.hold("answers");
      await pause(150);
      line.cut();
      line.release();
      await pause(150);
    }
    await expectRecovery(pid);
  });
});

describe("a connection that gets no answer", () => {
  it("counts as lost after the time a statement may take, and the next one works", async () => {
    const server = await startPostgresServer();
    const line = await startTcpProxy({ port: server.port });
    const url = `postgres://postgres@127.0.0.1:${line.port}/postgres`;
    const db = openPostgres({ url, poolSize: 1, queryTimeoutMs: 1_000, onError: () => undefined });
    try {
      await db.query("select 1");
      line.hold("answers");
      await expect(db.query("select 2")).rejects.toThrow("the database did not answer within 1000 ms");
      line.release();
      expect(await db.query("select 3 as three")).toEqual([{ three: 3 }]);

      const transaction = db.transaction(async (tx) => {
        await tx.query("create table t ()");
        line.hold("answers");
        await tx.query("select 4");
      });
      await expect(transaction).rejects.toThrow("the database did not answer within 1000 ms");
      line.release();
      expect(await db.query("select to_regclass('t') as found")).toEqual([{ found: null }]);
    } finally {
      await db.close();
      await line.close();
      await server.close();
    }
  });

  it("may break in the very moment in which the pool hands it on, and the process lives", async () => {
    const server = await startPostgresServer();
    const line = await startTcpProxy({ port: server.port });
    const direct = openQuietly(server.url());
    const url = `postgres://postgres@127.0.0.1:${line.port}/postgres`;
    const db = openPostgres({ url, poolSize: 1, applicationName: "handed on", onError: () => undefined });
    try {
      const [own] = await db.query<{ pid: number }>("select pg_backend_pid() as pid");
      line.hold("answers");
      const answered = db.query("select 1 as one");
      // Waits for the connection that the query has.
      const next = db.transaction((tx) => tx.query("select 2")).catch((error: unknown) => error);
      await until(async () => {
        const [row] = await direct.query<{ state: string; query: string }>(
          "select state, query from pg_stat_activity where pid = $1",
          [own?.pid],
        );
        return row?.state === "idle" && row.query === "select 1 as one";
      }, "the query is answered");
      await direct.query("select pg_terminate_backend($1)", [own?.pid]);
      await until(async () => {
        const found = await direct.query("select from pg_stat_activity where pid = $1", [own?.pid]);
        return found.length === 0;
      }, "the connection is ended");
      // The answer and the end arrive together.
      line.release();
      expect(await answered).toEqual([{ one: 1 }]);
      // Handed the broken one it fails, and with a new one it works; what it must not do is wait, or end the process.
      const outcome = await next;
      if (!(outcome instanceof Error)) expect(outcome).toEqual([{ "?column?": 2 }]);
      expect(await db.query("select 3 as three")).toEqual([{ three: 3 }]);
    } finally {
      await db.close();
      await direct.close();
      await line.close();
      await server.close();
    }
  });

  it("while it begins to listen again is given up, and another is made that does listen", async () => {
    const server = await startPostgresServer();
    const line = await startTcpProxy({ port: server.port });
    const direct = openQuietly(server.url());
    const url = `postgres://postgres@127.0.0.1:${line.port}/postgres`;
    const db = openPostgres({ url, applicationName: "listens", onError: () => undefined });
    const heard: string[] = [];
    const lost: string[] = [];
    try {
      await db.listen(["perch_test"], {
        ready: () => heard.push("ready"),
        notify: (_, payload) => heard.push(payload),
        lost: (error) => lost.push(error.message),
      });
      // It can connect and log in, but LISTEN gets no answer.
      line.hold("later answers");
      await direct.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'listens'");
      line.cut();
      await until(() => lost.some((message) => message.includes("timeout")), "LISTEN has had no answer in time");
      line.release();
      await until(() => heard.length === 2, "it listens again");
      await direct.query("select pg_notify('perch_test', 'news')");
      await until(() => heard.includes("news"), "the notification is heard");
      expect(heard).toEqual(["ready", "ready", "news"]);
    } finally {
      await db.close();
      await direct.close();
      await line.close();
      await server.close();
    }
  });
});
