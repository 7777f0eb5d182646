import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { openPostgres } from "../../src/database/postgres.js";
import { createReadiness } from "../../src/http/readiness.js";
import { cleanup, startNode, until } from "../gateway/support.js";
import { emptyDatabase, postgres } from "../support/databases.js";

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
