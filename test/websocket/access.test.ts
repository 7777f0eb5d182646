import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Worker } from "node:worker_threads";
import { SignJWT } from "jose";
import { LoroDoc } from "loro-crdt";
import { JoinErrorCode, MessageType } from "loro-protocol";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import {
  cleanup,
  declareNotes,
  makeSpace,
  rawClient,
  startNode,
  text,
  typed,
  until,
  withinTwoSeconds,
} from "../gateway/support.js";
import { metric } from "../http/support.js";
import { pglite, type TestDatabase } from "../support/databases.js";

const secret = "a secret of at least thirty-two bytes";
const withTokens = { PERCH_JWT_SECRET: secret, PERCH_RECHECK_MS: "200" };
const seconds = () => Math.floor(Date.now() / 1000);
const tokenOf = (claims: Record<string, unknown>) =>
  new SignJWT({ exp: Math.floor(Date.now() / 1000) + 600, ...claims })
    .setProtectedHeader({ alg: "HS256" })
    .sign(new TextEncoder().encode(secret));

const open = pglite();
let database: TestDatabase;
let rooms = 0;
const newRoom = (space = "team") => `${space}/app/notes/a${++rooms}`;

beforeAll(async () => {
  database = await open();
  await declareNotes(database);
  await makeSpace(database, "team", "ada", { bob: "editor", eve: "viewer" });
});

const setMember = (userId: string, role: string | null) =>
  database.asUser("ada", (tx) =>
    role === null
      ? tx.query("select perch.remove_space_member(space_id => 'team', user_id => $1)", [userId])
      : tx.query("select perch.set_space_member(space_id => 'team', user_id => $1, role => $2)", [userId, role]),
  );

/** What the server answers a handshake that it refuses. */
async function handshake(url: string, headers: Record<string, string>): Promise<number | "open"> {
  const socket = new WebSocket(url, { headers });
  cleanup(() => socket.terminate());
  return new Promise((resolve, reject) => {
    socket.once("open", () => resolve("open"));
    socket.once("unexpected-response", (_, response) => resolve(response.statusCode ?? 0));
    socket.once("error", reject);
  });
}

describe("tokens", () => {
  it("come with the join, the handshake's header or its query; the join's counts first", async () => {
    const node = await startNode(database, { env: withTokens });
    const [ada, mallory] = [await tokenOf({ sub: "ada" }), await tokenOf({ sub: "mallory" })];
    const plain = await rawClient(node);
    expect(await plain.join(newRoom())).toMatchObject({ code: JoinErrorCode.AuthFailed });
    expect(await plain.join(newRoom(), { token: ada })).toMatchObject({ permission: "write" });
    const inQuery = await rawClient(node, { token: ada });
    expect(await inQuery.join(newRoom())).toMatchObject({ permission: "write" });
    expect(await inQuery.join(newRoom(), { token: mallory })).toMatchObject({ code: JoinErrorCode.AuthFailed });
    const inHeader = await rawClient(node, { headers: { authorization: `Bearer ${ada}` } });
    expect(await inHeader.join(newRoom())).toMatchObject({ permission: "write" });
  });

  it("that list spaces give what they list, and no more", async () => {
    const node = await startNode(database, { env: withTokens });
    const token = await tokenOf({ sub: "ada", space_ids: ["elsewhere"], writable_space_ids: ["there"] });
    const client = await rawClient(node, { token });
    expect(await client.join(newRoom("there"))).toMatchObject({ permission: "write" });
    const room = newRoom("elsewhere");
    expect(await client.join(room)).toMatchObject({ permission: "read" });
    expect(await client.update(room, [typed(new LoroDoc(), "x")])).toBe(3);
    expect(await client.join(newRoom("team"))).toMatchObject({ code: JoinErrorCode.AuthFailed });
    expect(await client.join(newRoom(""))).toMatchObject({ permission: "write" });
  });

  it("that expire end their rooms within two seconds, until the client comes with a new one", async () => {
    const node = await startNode(database, { env: withTokens });
    const client = await rawClient(node);
    await withinTwoSeconds(async () => {
      const [room, lasting] = [newRoom(), newRoom()];
      expect(await client.join(lasting, { token: await tokenOf({ sub: "ada" }) })).toMatchObject({
        permission: "write",
      });
      const exp = seconds() + 3;
      const old = await tokenOf({ sub: "ada", exp });
      expect(await client.join(room, { token: old })).toMatchObject({ permission: "write" });
      const ended = await client.next(MessageType.RoomError);
      const late = Date.now() - exp * 1000;
      expect(ended).toMatchObject({ code: 1, roomId: room });
      expect(late).toBeGreaterThanOrEqual(0);
      expect(await client.join(room, { token: old })).toMatchObject({ code: JoinErrorCode.AuthFailed });
      expect(await client.join(room, { token: await tokenOf({ sub: "ada", exp: seconds() + 60 }) })).toMatchObject({
        permission: "write",
      });
      expect(await client.update(lasting, [typed(new LoroDoc(), "x")])).toBe(0);
      return late;
    });
  });

  it("that cannot be checked now close the socket with a code to come back on", async () => {
    const keyServer = createServer((_, response) => {
      response.statusCode = 500;
      response.end();
    });
    await new Promise<void>((resolve) => keyServer.listen(0, "127.0.0.1", resolve));
    cleanup(() => keyServer.close());
    const url = `http://127.0.0.1:${(keyServer.address() as AddressInfo).port}/`;
    const node = await startNode(database, { env: { PERCH_JWKS_URL: url, PERCH_JOIN_PATIENCE_MS: "100" } });
    const client = await rawClient(node);
    const token = new SignJWT({ sub: "ada" }).setProtectedHeader({ alg: "RS256" }).sign(
      (
        await crypto.subtle.generateKey(
          {
            name: "RSASSA-PKCS1-v1_5",
            modulusLength: 2048,
            publicExponent: new Uint8Array([1, 0, 1]),
            hash: "SHA-256",
          },
          false,
          ["sign", "verify"],
        )
      ).privateKey,
    );
    client.send({
      type: MessageType.JoinRequest,
      crdt: "%LOR",
      roomId: newRoom(),
      auth: text(await token),
      version: new Uint8Array([0]),
    });
    expect(await client.closed).toMatchObject({ code: 1013 });
  });
});

describe("membership", () => {
  it("ended, ends the rooms of open sockets, and no more is sent or taken", async () => {
    const node = await startNode(database);
    await setMember("carol", "editor");
    const [carol, ada] = [await rawClient(node), await rawClient(node)];
    const room = newRoom();
    await carol.join(room, { token: "carol" });
    await carol.join(room, { token: "carol", crdt: "%EPH" });
    await ada.join(room, { token: "ada" });
    await setMember("carol", null);
    const ended = [await carol.next(MessageType.RoomError), await carol.next(MessageType.RoomError)];
    expect(ended.map(({ code, crdt }) => [code, crdt]).sort()).toEqual([
      [1, "%EPH"],
      [1, "%LOR"],
    ]);
    expect(await ada.update(room, [typed(new LoroDoc(), "private")])).toBe(0);
    expect(await carol.update(room, [typed(new LoroDoc(), "intrusion")])).toBe(3);
    expect(await carol.join(room, { token: "carol" })).toMatchObject({ code: JoinErrorCode.AuthFailed });
    expect(carol.inbox).toEqual([]);
  });

  it("changed to viewer, is refused from the next update on, and told by a rejoin", async () => {
    const node = await startNode(database, { env: { PERCH_RECHECK_MS: "60000" } });
    await setMember("dan", "editor");
    const client = await rawClient(node);
    const room = newRoom();
    await client.join(room, { token: "dan" });
    const doc = new LoroDoc();
    expect(await client.update(room, [typed(doc, "a")])).toBe(0);
    await setMember("dan", "viewer");
    expect(await client.update(room, [typed(doc, "b")])).toBe(3);
    expect(await client.next(MessageType.RoomError)).toMatchObject({ code: 1 });
    expect(await client.join(room, { token: "dan" })).toMatchObject({ permission: "read" });
  });
});

describe("the door", () => {
  it("lets pages of this machine in, in development mode, and no others", async () => {
    const node = await startNode(database);
    const url = `${node.url}/sync`;
    expect(await handshake(url, {})).toBe("open");
    expect(await handshake(url, { origin: "http://localhost:3000" })).toBe("open");
    expect(await handshake(url, { origin: "https://evil.example" })).toBe(403);
    expect(await handshake(url, { origin: "null" })).toBe(403);
  });

  it("lets in the origins that are named, or any with tokens", async () => {
    const named = await startNode(database, { env: { ...withTokens, PERCH_ALLOWED_ORIGINS: "https://app.example" } });
    expect(await handshake(`${named.url}/sync`, { origin: "https://app.example" })).toBe("open");
    expect(await handshake(`${named.url}/sync`, { origin: "http://localhost:3000" })).toBe(403);
    const any = await startNode(database, { env: withTokens });
    expect(await handshake(`${any.url}/sync`, { origin: "https://other.example" })).toBe("open");
  });

  it("is only at /sync", async () => {
    const node = await startNode(database);
    expect(await handshake(`${node.url}/`, {})).toBe(404);
    expect(await handshake(`${node.url}/sync/more`, {})).toBe(404);
  });

  it("bounds the sockets of an address, counting again those that closed", async () => {
    const node = await startNode(database, {
      env: { ...withTokens, PERCH_MAX_SOCKETS_PER_ADDRESS: "2", PERCH_TRUST_PROXY: "true" },
    });
    const from = (address: string) => handshake(`${node.url}/sync`, { "x-forwarded-for": `9.9.9.9, ${address}` });
    const first = await rawClient(node, { headers: { "x-forwarded-for": "1.1.1.1" } });
    expect(await from("1.1.1.1")).toBe("open");
    expect(await from("1.1.1.1")).toBe(429);
    expect(await from("2.2.2.2")).toBe("open");
    first.socket.terminate();
    await until(async () => (await from("1.1.1.1")) === "open");
  });

  it("bounds all sockets together", async () => {
    const node = await startNode(database, { env: { PERCH_MAX_SOCKETS: "1" } });
    await rawClient(node);
    expect(await handshake(`${node.url}/sync`, {})).toBe(503);
  });

  it("bounds the sockets of a user", async () => {
    const node = await startNode(database, { env: { PERCH_MAX_SOCKETS_PER_USER: "1" } });
    const [one, two] = [await rawClient(node), await rawClient(node)];
    expect(await one.join(newRoom(), { token: "ada" })).toMatchObject({ permission: "write" });
    expect(await one.join(newRoom(), { token: "ada" })).toMatchObject({ permission: "write" });
    expect(await two.join(newRoom(), { token: "ada" })).toMatchObject({ appCode: "too_many_sockets" });
    expect(await two.join(newRoom(), { token: "bob" })).toMatchObject({ permission: "write" });
    one.socket.terminate();
    const three = await rawClient(node);
    await until(async () => (await three.join(newRoom(), { token: "ada" })).type === MessageType.JoinResponseOk);
  });

  it("closes a socket that shows no token in time, with a code to come back on", async () => {
    const node = await startNode(database, { env: { PERCH_UNAUTHENTICATED_MS: "1500", PERCH_RECHECK_MS: "100" } });
    const known = await rawClient(node);
    const joined = known.join(newRoom(), { token: "ada" });
    const wrong = await rawClient(node);
    expect(await wrong.join(newRoom(), { token: "" })).toMatchObject({ code: JoinErrorCode.AuthFailed });
    const idle = await rawClient(node);
    await joined;
    expect(await idle.closed).toMatchObject({ code: 1013 });
    expect(await wrong.closed).toMatchObject({ code: 1013 });
    await known.join(newRoom(), { token: "ada" });
  });

  it("closes a socket that answers no ping", async () => {
    const node = await startNode(database, { env: { PERCH_PING_MS: "1500", PERCH_RECHECK_MS: "100" } });
    const [dead, alive] = [await rawClient(node), await rawClient(node)];
    dead.socket.pause();
    await until(async () => (await metric(node, "perch_sockets")) === 1);
    dead.socket.resume();
    expect(await dead.closed).toMatchObject({ code: 1006 });
    expect(alive.socket.readyState).toBe(WebSocket.OPEN);
  });

  it("closes none whose answer it has not read, since it stood still itself", async () => {
    const pingMs = 500;
    const node = await startNode(database, { env: { PERCH_PING_MS: `${pingMs}`, PERCH_RECHECK_MS: "100" } });
    const { ping } = WebSocket.prototype;
    let pings = 0;
    vi.spyOn(WebSocket.prototype, "ping").mockImplementation(function (this: WebSocket) {
      ping.call(this);
      pings += 1;
      // The ping has left; while this process stands still another one answers it.
      const standStill = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 4 * pingMs);
      if (pings === 1) setImmediate(standStill);
    });
    cleanup(() => vi.restoreAllMocks());
    const client = new Worker(
      `const { WebSocket } = require("ws"); new WebSocket(${JSON.stringify(`${node.url}/sync`)}).on("close", () => process.exit(3));`,
      { eval: true },
    );
    cleanup(() => client.terminate());
    const closed = once(client, "exit").then(() => "closed");
    expect(await Promise.race([closed, until(() => pings >= 3)])).toBe(true);
  });
});
