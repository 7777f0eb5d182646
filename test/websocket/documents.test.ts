import { LoroAdaptor } from "loro-adaptors/loro";
import { LoroDoc, VersionVector } from "loro-crdt";
import { JoinErrorCode, MessageType } from "loro-protocol";
import { beforeAll, expect, it } from "vitest";
import {
  declareNotes,
  makeSpace,
  type Node,
  officialClient,
  randomText,
  rawClient,
  startNode,
  text,
  typed,
  until,
} from "../gateway/support.js";
import { describeBothKinds, type TestDatabase } from "../support/databases.js";

describeBothKinds("document rooms", (open) => {
  let database: TestDatabase;
  let rooms = 0;
  const newRoom = () => `team/app/notes/d${++rooms}`;

  beforeAll(async () => {
    database = await open();
    await declareNotes(database);
    await makeSpace(database, "team", "ada", { bob: "editor", eve: "viewer" });
  });

  async function member(node: Node, room: string, user: string, doc = new LoroDoc()) {
    const client = officialClient(node);
    const joined = await client.join({ roomId: room, crdtAdaptor: new LoroAdaptor(doc), auth: text(user) });
    return { client, joined, doc, body: () => doc.getText("body").toString() };
  }

  it("bring two official clients together, and give a late one everything", async () => {
    const node = await startNode(database);
    const room = newRoom();
    const one = await member(node, room, "ada");
    const two = await member(node, room, "bob");
    typed(one.doc, "Hello");
    await until(() => two.body() === "Hello");
    typed(two.doc, ", world");
    await until(() => one.body() === "Hello, world");

    const late = await member(node, room, "eve");
    await late.joined.waitForReachingServerVersion();
    expect(late.body()).toBe("Hello, world");
  });

  it("acknowledge a batch of several updates once, and send it to the others but not to its writer", async () => {
    const node = await startNode(database);
    const room = newRoom();
    const [writer, reader] = [await rawClient(node), await rawClient(node)];
    expect(await writer.join(room, { token: "ada" })).toMatchObject({
      type: MessageType.JoinResponseOk,
      permission: "write",
    });
    expect(await reader.join(room, { token: "eve" })).toMatchObject({ permission: "read" });
    const doc = new LoroDoc();
    const updates = [typed(doc, "x"), typed(doc, "y"), typed(doc, "z")];
    expect(await writer.update(room, updates)).toBe(0);
    expect((await reader.next(MessageType.DocUpdate)).updates).toEqual(updates);
    expect(await writer.update(room, [typed(doc, "!")])).toBe(0);
    await reader.next(MessageType.DocUpdate);
    expect([writer.inbox, reader.inbox]).toEqual([[], []]);
  });

  it("answer a join with a version that the backfill delivers, one byte when there is nothing", async () => {
    const node = await startNode(database);
    const room = newRoom();
    const client = await rawClient(node);
    const empty = await client.join(room, { token: "ada" });
    expect(empty).toMatchObject({ version: new Uint8Array([0]) });
    expect(client.inbox).toEqual([]);

    const doc = new LoroDoc();
    for (const letter of "abc") expect(await client.update(room, [typed(doc, letter)])).toBe(0);
    const late = await rawClient(node);
    const answer = await late.join(room, { token: "bob" });
    if (answer.type !== MessageType.JoinResponseOk) throw new Error(answer.message);
    const backfill = await late.next(MessageType.DocUpdate);
    const copy = new LoroDoc();
    copy.importBatch(backfill.updates);
    expect(copy.version().compare(VersionVector.decode(answer.version))).toBe(0);
    expect(copy.getText("body").toString()).toBe("abc");

    const known = await rawClient(node);
    await known.join(room, { token: "bob", version: copy.version().encode() });
    await known.update(room, []);
    expect(known.inbox).toEqual([]);
  });

  it("backfill a document of several frames in fragments, to both kinds of client", async () => {
    const node = await startNode(database);
    const room = newRoom();
    const writer = await member(node, room, "ada");
    const body = randomText(900_000);
    for (let at = 0; at < body.length; at += 100_000) typed(writer.doc, body.slice(at, at + 100_000));
    const reader = await member(node, room, "bob");
    await until(() => reader.body() === body);

    const raw = await rawClient(node);
    await raw.join(room, { token: "eve" });
    const header = await raw.next(MessageType.DocUpdateFragmentHeader);
    expect(header.fragmentCount).toBeGreaterThan(3);
    expect(raw.largestFrame()).toBeLessThanOrEqual(262_144);
  });

  it("take a client's large update in fragments, and pass it on", async () => {
    const node = await startNode(database);
    const room = newRoom();
    const [writer, reader] = [await member(node, room, "ada"), await member(node, room, "bob")];
    const body = randomText(600_000);
    typed(writer.doc, body);
    await until(() => reader.body() === body);
  });

  it("refuse what a viewer sends with 03, and go on sending to it", async () => {
    const node = await startNode(database);
    const room = newRoom();
    const [writer, viewer] = [await rawClient(node), await rawClient(node)];
    await writer.join(room, { token: "ada" });
    await viewer.join(room, { token: "eve" });
    expect(await viewer.update(room, [typed(new LoroDoc(), "no")])).toBe(3);
    expect(await writer.update(room, [typed(new LoroDoc(), "yes")])).toBe(0);
    await viewer.next(MessageType.DocUpdate);
    expect(writer.inbox).toEqual([]);
  });

  it("answer a version that does not decode with the one the server is at", async () => {
    const node = await startNode(database);
    const room = newRoom();
    const client = await rawClient(node);
    await client.join(room, { token: "ada" });
    const doc = new LoroDoc();
    await client.update(room, [typed(doc, "abc")]);
    const other = await rawClient(node);
    const answer = await other.join(room, { token: "bob", version: new Uint8Array([255, 255, 255, 9]) });
    expect(answer).toMatchObject({ type: MessageType.JoinError, code: JoinErrorCode.VersionUnknown });
    if (answer.type !== MessageType.JoinError || answer.receiverVersion === undefined) throw new Error("no version");
    expect(VersionVector.decode(answer.receiverVersion).compare(doc.version())).toBe(0);
    expect(await other.join(room, { token: "bob", version: new Uint8Array() })).toMatchObject({ permission: "write" });
  });

  it("refuse joins by their reason", async () => {
    const node = await startNode(database);
    const client = await rawClient(node);
    const { AuthFailed, AppError } = JoinErrorCode;
    expect(await client.join(newRoom(), { token: "mallory" })).toMatchObject({ code: AuthFailed });
    expect(await client.join(newRoom(), { token: "" })).toMatchObject({ code: AuthFailed });
    expect(await client.join("~bob/app/notes/n", { token: "ada" })).toMatchObject({ code: AuthFailed });
    expect(await client.join("team/app/nowhere/n", { token: "ada" })).toMatchObject({
      code: AppError,
      appCode: "not_found",
    });
    expect(await client.join("team/app/notes", { token: "ada" })).toMatchObject({ code: AppError, appCode: "invalid" });
    expect(await client.join(newRoom(), { token: "ada" })).toMatchObject({ permission: "write" });
  });

  it("treat the two names of a personal space as one room", async () => {
    const node = await startNode(database);
    const [one, two] = [await rawClient(node), await rawClient(node)];
    await one.join("/app/notes/p1", { token: "ada" });
    await two.join("~ada/app/notes/p%31", { token: "ada" });
    const update = typed(new LoroDoc(), "mine");
    expect(await one.update("/app/notes/p1", [update])).toBe(0);
    expect(await two.next(MessageType.DocUpdate)).toMatchObject({ roomId: "~ada/app/notes/p%31", updates: [update] });
  });

  it("give a client that comes back at once what was just saved", async () => {
    const node = await startNode(database);
    const room = newRoom();
    const doc = new LoroDoc();
    for (let n = 1; n <= 10; n++) {
      const client = await rawClient(node);
      await client.join(room, { token: "ada", version: doc.version().encode() });
      expect(client.inbox).toEqual([]);
      expect(await client.update(room, [typed(doc, String(n % 10))])).toBe(0);
      client.socket.terminate();
    }
    const late = await member(node, room, "bob");
    await late.joined.waitForReachingServerVersion();
    expect(late.body()).toBe("1234567890");
  });

  it("another node serves what this one acknowledged, after an orderly stop", async () => {
    const node = await startNode(database);
    const room = newRoom();
    const client = await rawClient(node);
    await client.join(room, { token: "ada" });
    const doc = new LoroDoc();
    const acks = [..."durable"].map((letter) => client.update(room, [typed(doc, letter)]));
    await acks[0];
    await node.stop();
    const acknowledged = (await Promise.allSettled(acks)).filter(({ status }) => status === "fulfilled").length;
    const next = await startNode(database);
    const late = await member(next, room, "bob");
    await late.joined.waitForReachingServerVersion();
    expect(late.body().length).toBeGreaterThanOrEqual(acknowledged);
    expect("durable".startsWith(late.body())).toBe(true);
  });
});
