import { LoroDoc } from "loro-crdt";
import { MessageType } from "loro-protocol";
import { beforeAll, describe, expect, it } from "vitest";
import { declareNotes, type RawClient, rawClient, startNode, typed, until } from "../gateway/support.js";
import { postgres, type TestDatabase } from "../support/databases.js";

const open = postgres();
let database: TestDatabase;
beforeAll(async () => {
  database = await open();
  await declareNotes(database);
});

const readers = 200;

const updatesOf = (client: RawClient) =>
  client.inbox.flatMap((message) => (message.type === MessageType.DocUpdate ? message.updates : []));

describe("two hundred readers of one document", () => {
  it("each get every edit once, in its order, those who come in between too", async () => {
    const node = await startNode(database);
    const roomId = "/app/notes/many";
    const writer = await rawClient(node);
    await writer.join(roomId, { token: "ada" });
    const doc = new LoroDoc();
    const join = async () => {
      const client = await rawClient(node);
      await client.join(roomId, { token: "ada" });
      return client;
    };
    const early = await Promise.all(Array.from({ length: readers / 2 }, join));
    const typing = (async () => {
      for (let count = 0; count < 40; count++) expect(await writer.update(roomId, [typed(doc, "x")])).toBe(0);
    })();
    const late = await Promise.all(Array.from({ length: readers / 2 }, join));
    await typing;

    for (const client of early) {
      await until(() => updatesOf(client).length === 40);
      // In order: each builds on those before it.
      const copy = new LoroDoc();
      for (const update of updatesOf(client)) expect(copy.import(update).pending).toBeFalsy();
      expect(copy.version().compare(doc.version())).toBe(0);
    }
    for (const client of late) {
      await until(() => {
        const copy = new LoroDoc();
        for (const update of updatesOf(client)) expect(copy.import(update).pending).toBeFalsy();
        return copy.version().compare(doc.version()) === 0;
      });
    }
    expect(node.live.stats()).toMatchObject({ documents: 1, readers: readers + 1 });
  });
});
