import { connect as connectTcp, type Socket } from "node:net";
import { LoroDoc } from "loro-crdt";
import { MessageType } from "loro-protocol";
import { beforeAll, describe, expect, it } from "vitest";
import {
  cleanup,
  declareNotes,
  makeSpace,
  type Node,
  type RawClient,
  randomText,
  rawClient,
  startNode,
  until,
} from "../gateway/support.js";
import { metric, pushAs } from "../http/support.js";
import { postgres, type TestDatabase } from "../support/databases.js";
import { syncTable } from "../tables/support.js";

const open = postgres();
let database: TestDatabase;
beforeAll(async () => {
  database = await open();
  await declareNotes(database);
  await makeSpace(database, "crowd", "zoe");
  await database.db.query(
    "insert into perch.space_members select 'crowd', repeat('m', 240) || n, 'viewer' from generate_series(1, 6000) n",
  );
  await database.db.query("create table things (id int primary key, team text, body text)");
  await syncTable(database.db, "things", "space_column => 'team'");
  await database.db.query("insert into things select n, '~zoe', repeat('x', 500000) from generate_series(1, 12) n");
});

const megabyte = 1_000_000;
const share = 8 * megabyte;
const env = { PERCH_MAX_HELD_BYTES_PER_USER: String(share), PERCH_SLOW_READER_MS: "1500", PERCH_RECHECK_MS: "100" };

const held = (node: Node) => metric(node, "perch_held_bytes").then((bytes) => bytes ?? Number.NaN);

/** The most that was held at any time while `work` went on. */
async function peakDuring(node: Node, work: () => Promise<unknown>): Promise<number> {
  let peak = 0;
  let going = true;
  const watched = (async () => {
    while (going) {
      peak = Math.max(peak, await held(node));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  await work();
  going = false;
  await watched;
  return peak;
}

/** Writes documents of a megabyte each. */
async function writeLarge(node: Node, records: readonly string[]): Promise<void> {
  const writer = await rawClient(node);
  for (const record of records) {
    const roomId = `~ada/app/notes/${record}`;
    await writer.join(roomId, { token: "ada" });
    const doc = new LoroDoc();
    for (let n = 0; n < 5; n++) {
      const from = doc.version();
      doc.getMap("fields").set("title", randomText(200_000));
      doc.commit();
      expect(await writer.update(roomId, [doc.export({ mode: "update", from })])).toBe(0);
    }
  }
  writer.socket.terminate();
}

const joinRequest = (roomId: string) =>
  ({
    type: MessageType.JoinRequest,
    crdt: "%LOR",
    roomId,
    auth: new TextEncoder().encode("ada"),
    version: new Uint8Array([0]),
  }) as const;

/** Keeps a socket that reads nothing looking alive. */
function chatter(client: RawClient): void {
  const timer = setInterval(() => client.socket.readyState === client.socket.OPEN && client.sendRaw("ping"), 100);
  cleanup(() => clearInterval(timer));
}

describe("what is held for a user who does not read", () => {
  it("is bounded for backfills, which are cut off, whatever else the client sends, and keep nobody else waiting", async () => {
    const writing = await startNode(database);
    const records = Array.from({ length: 8 }, (_, n) => `large${n}`);
    await writeLarge(writing, records);
    await writing.stop();
    const node = await startNode(database, { env });
    const greedy = await Promise.all(Array.from({ length: 4 }, () => rawClient(node)));
    const peak = await peakDuring(node, async () => {
      for (const client of greedy) {
        client.socket.pause();
        chatter(client);
        for (const record of records) client.send(joinRequest(`~ada/app/notes/${record}`));
      }
      const bystander = await rawClient(node);
      expect(await bystander.join("/app/notes/own", { token: "bob" })).toMatchObject({
        type: MessageType.JoinResponseOk,
      });
      await until(async () => (await metric(node, "perch_sockets")) === 1);
    });
    // 32 joins of a megabyte each; one that is larger than was thought may go over. While the bystander joins, room is kept for them, too.
    expect(peak).toBeLessThan(share + 3 * megabyte + 8 * 2 ** 20);
    await until(async () => (await held(node)) < megabyte);
  });

  it("is bounded for answers, which are cut off; what is asked meanwhile is told to wait", async () => {
    const node = await startNode(database, { env });
    for (let n = 0; n < 10; n++) {
      const data = { text: randomText(900_000) };
      await pushAs(database.db, "zoe", "app", { op: "insert", table: "tasks", id: `t${n}`, data });
    }
    const body = JSON.stringify({ app_id: "app" });
    const ask = () => {
      const socket = connectTcp(node.gateway.port, "127.0.0.1");
      cleanup(() => socket.destroy());
      socket.on("error", () => undefined);
      socket.write(
        `POST /v1/pull HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer zoe\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      );
      return socket;
    };
    const sockets: Socket[] = [];
    const peak = await peakDuring(node, async () => {
      for (let n = 0; n < 20; n++) {
        sockets.push(ask());
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      const refused = await until(async () => {
        const response = await fetch(`${node.gateway.url}/v1/pull`, {
          method: "POST",
          headers: { authorization: "Bearer zoe" },
          body,
        });
        const answer = await response.text();
        return response.status === 429 ? { response, answer } : undefined;
      });
      expect(refused.response.headers.get("retry-after")).toBe("1");
      expect(JSON.parse(refused.answer).error.code).toBe("PE429");
      const other = await fetch(`${node.gateway.url}/v1/pull`, {
        method: "POST",
        headers: { authorization: "Bearer bob" },
        body,
      });
      expect(other.status).toBe(200);
      await until(async () => (await held(node)) < megabyte);
    });
    // The first of a user's answers is begun however large it is, and one more may be under way; and room is kept for the other's.
    expect(peak).toBeLessThan(share + 2 * 9 * megabyte + 2 ** 24);
    const closed = sockets.map((socket) => new Promise((resolve) => socket.once("close", resolve)));
    for (const socket of sockets) socket.resume();
    await Promise.all(closed);
  });

  it.each([
    ["rows of a shape", "POST", "/v1/shape?table=things&log=changes_only&offset=now", "{}", 60],
    ["a shape's first snapshot", "GET", "/v1/shape?table=things&offset=-1", "", 60],
    ["the members of a space", "GET", "/v1/spaces/crowd?page_size=10000", "", 24],
  ])("is bounded for %s", async (_, method, path, body, most) => {
    const node = await startNode(database, { env });
    const peak = await peakDuring(node, async () => {
      for (let n = 0; n < 30; n++) {
        const socket = connectTcp(node.gateway.port, "127.0.0.1");
        cleanup(() => socket.destroy());
        socket.on("error", () => undefined);
        const headers = `Host: localhost\r\nAuthorization: Bearer zoe\r\nContent-Length: ${body.length}`;
        socket.write(`${method} ${path} HTTP/1.1\r\n${headers}\r\n\r\n${body}`);
      }
      await until(async () => (await held(node)) > share / 2);
      await until(async () => (await held(node)) < megabyte);
    });
    // Room for one is taken before it is known how long it is.
    expect(peak).toBeLessThan(most * megabyte);
  });

  it("is bounded for rooms; leaving one makes place for another", async () => {
    const node = await startNode(database, { env: { ...env, PERCH_MAX_HELD_BYTES_PER_USER: "400000" } });
    const client = await rawClient(node);
    const joined: string[] = [];
    let refusal: unknown;
    for (let n = 0; refusal === undefined && n < 100; n++) {
      const roomId = `/app/notes/none${n}`;
      const answer = await client.join(roomId, { token: "ada" });
      if (answer.type === MessageType.JoinResponseOk) joined.push(roomId);
      else refusal = answer;
    }
    expect(refusal).toMatchObject({ code: 0x7f, appCode: "too_much_held" });
    expect(joined.length).toBeGreaterThan(4);
    client.send({ type: MessageType.Leave, crdt: "%LOR", roomId: joined[0] ?? "" });
    expect(await client.join("/app/notes/another", { token: "ada" })).toMatchObject({
      type: MessageType.JoinResponseOk,
    });
  });
});
