import { LoroDoc } from "loro-crdt";
import { MessageType } from "loro-protocol";
import { beforeAll, describe, expect, it } from "vitest";
import { declareNotes, type RawClient, randomText, rawClient, startNode, until } from "../gateway/support.js";
import { metric } from "../http/support.js";
import { postgres, type TestDatabase } from "../support/databases.js";

const open = postgres();
let database: TestDatabase;
let rooms = 0;
const newRoom = () => `/app/notes/s${++rooms}`;
beforeAll(async () => {
  database = await open();
  await declareNotes(database);
});

/** A long title: as many bytes as a long text, and a single operation. */
function titled(doc: LoroDoc, length: number): Uint8Array {
  const from = doc.version();
  doc.getMap("fields").set("title", randomText(length));
  doc.commit();
  return doc.export({ mode: "update", from });
}

/** Writes until so many bytes were sent; more than the buffers of two TCP sockets hold. */
async function flood(writer: RawClient, roomId: string, doc: LoroDoc, bytes: number): Promise<void> {
  for (let sent = 0; sent < bytes; sent += 200_000) {
    expect(await writer.update(roomId, [titled(doc, 200_000)])).toBe(0);
  }
}

const received = (client: RawClient) =>
  client.inbox.reduce(
    (sum, message) =>
      sum + (message.type === MessageType.DocUpdate ? message.updates.reduce((n, { length }) => n + length, 0) : 0),
    0,
  );

describe("a reader that is slow", () => {
  it("is not queued for without end, and is told to join again once it has caught up", async () => {
    const node = await startNode(database, { env: { PERCH_MAX_QUEUED_BYTES: "1000000" } });
    const roomId = newRoom();
    const [writer, fast, slow] = [await rawClient(node), await rawClient(node), await rawClient(node)];
    for (const client of [writer, fast, slow]) await client.join(roomId, { token: "ada" });
    slow.socket.pause();
    const doc = new LoroDoc();
    const total = 14_000_000;
    await flood(writer, roomId, doc, total);
    await until(() => received(fast) >= total);
    slow.socket.resume();
    expect(await slow.next(MessageType.RoomError)).toMatchObject({ code: 1, roomId });
    // The rest was never queued, or it would have come first.
    expect(received(slow)).toBeLessThan(total - 1_000_000);

    // The join brings exactly what it missed.
    const copy = new LoroDoc();
    for (const message of slow.inbox.splice(0))
      if (message.type === MessageType.DocUpdate) copy.importBatch(message.updates);
    await slow.join(roomId, { token: "ada", version: copy.version().encode() });
    const header = await slow.next(MessageType.DocUpdateFragmentHeader);
    const pieces: Uint8Array[] = [];
    for (let n = 0; n < header.fragmentCount; n++)
      pieces.push((await slow.next(MessageType.DocUpdateFragment)).fragment);
    copy.import(new Uint8Array(Buffer.concat(pieces)));
    expect(copy.version().compare(doc.version())).toBe(0);
  });

  it("is closed when it stays slow for too long", async () => {
    const node = await startNode(database, {
      env: {
        PERCH_MAX_QUEUED_BYTES: "100000",
        PERCH_SLOW_READER_MS: "300",
        PERCH_RECHECK_MS: "100",
        // What does not read answers no ping either, and would be closed for that.
        PERCH_PING_MS: "600000",
      },
    });
    const roomId = newRoom();
    const [writer, slow] = [await rawClient(node), await rawClient(node)];
    for (const client of [writer, slow]) await client.join(roomId, { token: "ada" });
    slow.socket.pause();
    const doc = new LoroDoc();
    // How much the system's buffers take before the server has to wait is not under our control.
    await until(async () => {
      await flood(writer, roomId, doc, 1_000_000);
      return (await metric(node, "perch_sockets")) === 1;
    });
    slow.socket.resume();
    expect(await slow.closed).toMatchObject({ code: 1006 });
  });

  it("that sends without reading its answers is not read from either", async () => {
    const node = await startNode(database, { env: { PERCH_MAX_PENDING_BYTES: "500000" } });
    const roomId = newRoom();
    const client = await rawClient(node);
    await client.join(roomId, { token: "ada" });
    const doc = new LoroDoc();
    const count = 60;
    const updates = Array.from({ length: count }, () => titled(doc, 50_000));
    const statuses = await Promise.all(updates.map((update) => client.update(roomId, [update])));
    expect(statuses).toEqual(Array(count).fill(0));
  });
});
