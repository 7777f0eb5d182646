import fc from "fast-check";
import { LoroDoc } from "loro-crdt";
import { MessageType } from "loro-protocol";
import { beforeAll, expect, it } from "vitest";
import { xxhash32 } from "../../src/documents/loro/format/xxhash32.js";
import { declareNotes, rawClient, startNode, typed, until } from "../gateway/support.js";
import { pglite, type TestDatabase } from "../support/databases.js";

const open = pglite();
let database: TestDatabase;
beforeAll(async () => {
  database = await open();
  await declareNotes(database);
});

/** Where the body of a Loro blob begins, and where its checksum stands. */
const bodyAt = 20;
const checksumAt = 16;

/** A corrupted update whose checksum is right again. */
function forged(update: Uint8Array, at: number, byte: number): Uint8Array {
  const copy = new Uint8Array(update);
  copy[bodyAt + 2 + (at % (copy.length - bodyAt - 2))] = byte;
  const view = new DataView(copy.buffer);
  view.setUint32(checksumAt, xxhash32(copy.subarray(bodyAt), 0x4f524f4c), true);
  return copy;
}

it("forged updates are refused one by one, reach nobody, and honest edits go on", async () => {
  const node = await startNode(database);
  const roomId = "/app/notes/hostile";
  const [forger, honest, reader] = [await rawClient(node), await rawClient(node), await rawClient(node)];
  for (const client of [forger, honest, reader]) await client.join(roomId, { token: "ada" });
  const doc = new LoroDoc();
  const other = new LoroDoc();
  const base = typed(other, "a text to corrupt");
  let letters = 0;
  for (const [at, byte] of fc.sample(fc.tuple(fc.nat(), fc.nat(255)), 60)) {
    const status = await forger.update(roomId, [forged(base, at, byte)]);
    expect([0, 1, 4]).toContain(status);
    // Refused: the room asks the forger to join again. A corruption can also be another valid update.
    if (status !== 0) await forger.join(roomId, { token: "ada" });
    if (letters++ % 3 === 0) expect(await honest.update(roomId, [typed(doc, "h")])).toBe(0);
  }
  await until(() => {
    const copy = new LoroDoc();
    for (const message of reader.inbox) if (message.type === MessageType.DocUpdate) copy.importBatch(message.updates);
    return copy.version().compare(doc.version()) !== -1 && copy.getText("body").toString().includes("h".repeat(20));
  });
  const late = new LoroDoc();
  const fresh = await rawClient(node);
  await fresh.join(roomId, { token: "ada" });
  late.importBatch((await fresh.next(MessageType.DocUpdate)).updates);
  expect(late.getText("body").toString()).toContain("h".repeat(20));
});
