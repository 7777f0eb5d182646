import { LoroAdaptor } from "loro-adaptors/loro";
import { LoroDoc } from "loro-crdt";
import { MessageType } from "loro-protocol";
import { beforeAll, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { freePort } from "../../scripts/support/free-port.js";
import { gatewaySettings } from "../../src/gateway/settings.js";
import {
  declareNotes,
  newBatchId,
  officialClient,
  rawClient,
  startNode,
  text,
  typed,
  until,
} from "../gateway/support.js";
import { postgres, type TestDatabase } from "../support/databases.js";
import { createGate, lockWaiters } from "../support/locks.js";
import { pause } from "../support/until.js";

const open = postgres();
let database: TestDatabase;
beforeAll(async () => {
  database = await open();
  await declareNotes(database);
});

/** Holds the row of a document until the returned function is called. */
async function lockRow(recordId: string): Promise<() => Promise<void>> {
  const other = await database.connect();
  let unlock = () => {};
  const held = new Promise<void>((resolve) => {
    unlock = resolve;
  });
  let locked = () => {};
  const ready = new Promise<void>((resolve) => {
    locked = resolve;
  });
  const done = other.transaction(async (tx) => {
    await tx.query("select from perch.documents where record_id = $1 for update", [recordId]);
    locked();
    await held;
  });
  await ready;
  return async () => {
    unlock();
    await done;
  };
}

describe("shutting down", () => {
  it("acknowledges what was taken, takes nothing more, and tells clients to come back", async () => {
    const node = await startNode(database);
    const client = await rawClient(node);
    await client.join("/app/notes/d1", { token: "ada" });
    const doc = new LoroDoc();
    expect(await client.update("/app/notes/d1", [typed(doc, "a")])).toBe(0);
    const unlock = await lockRow("d1");
    const batchId = newBatchId();
    const update = (id: `0x${string}`) =>
      client.send({
        type: MessageType.DocUpdate,
        crdt: "%LOR",
        roomId: "/app/notes/d1",
        updates: [typed(doc, "b")],
        batchId: id,
      });
    update(batchId);
    await lockWaiters(database.db);
    const closing = node.gateway.close();
    update(newBatchId());
    await expect(rawClient(node)).rejects.toThrow();
    // A socket's frames are taken in order: this one is behind the update.
    await new Promise((answered) => {
      client.socket.once("pong", answered);
      client.socket.ping();
    });
    expect([client.inbox, client.socket.readyState]).toEqual([[], WebSocket.OPEN]);
    await unlock();
    expect(await client.next(MessageType.Ack)).toMatchObject({ refId: batchId, status: 0 });
    expect(await client.closed).toMatchObject({ code: 1012 });
    expect(client.inbox).toEqual([]);
    await closing;
  });

  it("does not wait for ever for what hangs, nor for a client that does not answer", async () => {
    const node = await startNode(database, { env: { PERCH_DRAIN_MS: "500" } });
    const [client, deaf] = [await rawClient(node), await rawClient(node)];
    await client.join("/app/notes/d2", { token: "ada" });
    await deaf.join("/app/notes/d2", { token: "ada" });
    const doc = new LoroDoc();
    expect(await client.update("/app/notes/d2", [typed(doc, "a")])).toBe(0);
    const unlock = await lockRow("d2");
    client.send({
      type: MessageType.DocUpdate,
      crdt: "%LOR",
      roomId: "/app/notes/d2",
      updates: [typed(doc, "b")],
      batchId: newBatchId(),
    });
    deaf.socket.pause();
    await lockWaiters(database.db);
    // Timers of one process run in the order in which they are due, however late all of them are.
    const usual = pause(gatewaySettings({}, { development: true }).drainMs).then(() => "only after the usual time");
    expect(await Promise.race([node.gateway.close(), usual])).toBeUndefined();
    await unlock();
  });

  it("moves official clients to the next node without losing an edit", async () => {
    // Not one that the system gives to whoever connects while nobody listens there.
    const port = String(await freePort());
    const first = await startNode(database, { env: { PERCH_PORT: port } });
    const [one, two] = [new LoroDoc(), new LoroDoc()];
    for (const doc of [one, two]) {
      await officialClient(first).join({
        roomId: "/app/notes/d3",
        crdtAdaptor: new LoroAdaptor(doc),
        auth: text("ada"),
      });
    }
    let node = first;
    for (let round = 0; round < 3; round++) {
      const typing = (async () => {
        for (let n = 0; n < 60; n++) {
          typed(n % 2 === 0 ? one : two, String(n % 10));
          await pause(10);
        }
      })();
      // In the middle of it.
      await pause(200);
      await node.stop();
      node = await startNode(database, { env: { PERCH_PORT: port } });
      await typing;
    }
    const body = (doc: LoroDoc) => doc.getText("body").toString();
    await until(() => body(one).length === 180 && body(one) === body(two));
  });

  it("finishes requests and says no to new ones", async () => {
    const pull = createGate();
    const db = {
      ...database.db,
      async transaction(work: Parameters<typeof database.db.transaction>[0]) {
        await pull.pass();
        return database.db.transaction(work);
      },
    } as typeof database.db;
    const node = await startNode(database, { db });
    const pulled = fetch(`${node.gateway.url}/v1/pull`, {
      method: "POST",
      headers: { authorization: "Bearer ada" },
      body: '{"app_id":"app"}',
    });
    await pull.reached;
    const closing = node.gateway.close();
    await until(() =>
      fetch(`${node.gateway.url}/healthz`).then(
        () => false,
        () => true,
      ),
    );
    pull.open();
    await closing;
    const reply = await pulled;
    expect([reply.status, reply.headers.get("connection")]).toEqual([200, "close"]);
    await expect(fetch(`${node.gateway.url}/healthz`)).rejects.toThrow();
  });
});
