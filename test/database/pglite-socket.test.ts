import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { openPglite, type PgliteDatabase } from "../../src/database/pglite.js";
import { openPgliteSocket, type PgliteSocket } from "../../src/database/pglite-socket.js";
import { createMessageReader, frame } from "../../src/database/pglite-wire.js";

describe("the socket of the embedded database", () => {
  let folder: string;
  let db: PgliteDatabase;
  let socket: PgliteSocket;
  const clients: pg.Client[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "perch-socket-"));
    db = await openPglite();
    socket = await openPgliteSocket({ client: db.client, folder, idleInTransactionMs: 300 });
    await db.query("create table notes (text text)");
  });

  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client.end()));
    await db.query("delete from notes");
  });

  afterAll(async () => {
    await socket.close();
    await db.close();
    await rm(folder, { recursive: true });
  });

  async function connect(): Promise<pg.Client> {
    const client = new pg.Client({ host: socket.folder, user: "anybody", database: "postgres" });
    client.on("error", () => undefined);
    await client.connect();
    clients.push(client);
    return client;
  }

  const notes = async () =>
    (await db.query<{ text: string }>("select text from notes order by text")).map((n) => n.text);

  it("lets an ordinary Postgres client read and write", async () => {
    const client = await connect();
    await client.query("insert into notes values ($1)", ["from outside"]);
    await db.query("insert into notes values ('from inside')");
    const { rows } = await client.query("select text from notes order by text");
    expect(rows).toEqual([{ text: "from inside" }, { text: "from outside" }]);
  });

  it("is for this user only", async () => {
    expect((await stat(join(folder, ".s.PGSQL.5432"))).mode & 0o777).toBe(0o600);
  });

  it("keeps everybody else out of an open transaction, so that rolling it back takes nothing of theirs", async () => {
    const [client, other] = [await connect(), await connect()];
    await client.query("begin");
    await client.query("insert into notes values ('never')");
    const inside = db.query("insert into notes values ('inside')");
    const outside = other.query("insert into notes values ('outside')");
    await client.query("rollback");
    await Promise.all([inside, outside]);
    expect(await notes()).toEqual(["inside", "outside"]);
  });

  it("rolls back the transaction of a client that leaves", async () => {
    const client = await connect();
    await client.query("begin");
    await client.query("insert into notes values ('never')");
    await client.end();
    expect(await notes()).toEqual([]);
  });

  it("goes on after a client that left in the middle of a failed statement with parameters", async () => {
    const client = await connect();
    await expect(client.query("select $1::int / 0", [1])).rejects.toMatchObject({ code: "22012" });
    const failing = client.query("select $1::int / 0", [1]);
    (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
    await expect(failing).rejects.toThrow();
    expect(await notes()).toEqual([]);
    const other = await connect();
    expect((await other.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
  });

  it("sends a client away that leaves its transaction open for too long", async () => {
    const client = await connect();
    const ended = new Promise<void>((done) => client.once("end", () => done()));
    await client.query("begin");
    await client.query("insert into notes values ('never')");
    expect(await notes()).toEqual([]);
    await ended;
  });

  it("takes no role, setting or prepared statement from one transaction into the next", async () => {
    const client = await connect();
    await db.query("create role somebody");
    await client.query("set role somebody");
    await client.query("set search_path = pg_catalog");
    await client.query("prepare hello as select 1");
    const state =
      "select current_user, current_setting('search_path') as path, (select count(*) from pg_prepared_statements)";
    expect(await db.query(state)).toEqual([{ current_user: "postgres", path: "public", count: 0 }]);
  });

  it("tells each client of the channels it listens on, and no other", async () => {
    const [one, two] = [await connect(), await connect()];
    const heard: string[] = [];
    one.on("notification", ({ channel, payload }) => heard.push(`one ${channel} ${payload}`));
    two.on("notification", ({ channel, payload }) => heard.push(`two ${channel} ${payload}`));
    const inside = await db.listen(["news"], {
      notify: (channel, payload) => heard.push(`inside ${channel} ${payload}`),
      ready: () => undefined,
    });
    await one.query("listen news");
    await two.query('listen "Other News"');
    await db.query("select pg_notify('news', 'a'), pg_notify('Other News', 'b')");
    await two.query("begin; select pg_notify('news', 'c'); commit");
    await one.query("unlisten news");
    await db.query("select pg_notify('news', 'd')");
    await Promise.all([one.query("select 1"), two.query("select 1")]);
    expect(heard.sort()).toEqual([
      "inside news a",
      "inside news c",
      "inside news d",
      "one news a",
      "one news c",
      "two Other News b",
    ]);
    await inside.close();
  });

  it("refuses COPY FROM STDIN, which would end PGlite, and goes on", async () => {
    const client = await connect();
    await expect(client.query("copy notes from stdin")).rejects.toThrow("not possible on the embedded database");
    await expect(client.query({ text: "copy notes from stdin", values: [] })).rejects.toThrow("not possible");
    expect((await client.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
  });

  it("closes while a client has a transaction open, which is rolled back", async () => {
    const place = await mkdtemp(join(tmpdir(), "perch-socket-"));
    const second = await openPgliteSocket({ client: db.client, folder: place });
    const client = new pg.Client({ host: place, user: "anybody", database: "postgres" });
    client.on("error", () => undefined);
    await client.connect();
    await client.query("begin");
    await client.query("insert into notes values ('never')");
    await second.close();
    expect(await notes()).toEqual([]);
    await client.end();
    await rm(place, { recursive: true });
  });
});

it("puts a long message together from its pieces in a time that grows with its length, not with its square", () => {
  const reader = createMessageReader();
  const message = frame("Q", new Uint8Array(32 * 2 ** 20));
  const began = performance.now();
  for (let at = 0; at < message.length; at += 16 * 1024) {
    expect(reader.next()).toBeUndefined();
    reader.push(message.subarray(at, at + 16 * 1024));
  }
  expect(Buffer.compare(reader.next() ?? new Uint8Array(), message)).toBe(0);
  expect(reader.next()).toBeUndefined();
  // By copying all that is there with each piece: 30 GB.
  expect(performance.now() - began).toBeLessThan(3_000);
});
