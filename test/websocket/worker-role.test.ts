import { EphemeralStore } from "loro-crdt";
import { encodeEloContainer, encryptDeltaSpan, MessageType } from "loro-protocol";
import { beforeAll, expect, it } from "vitest";
import { cleanup, declareNotes, makeSpace, rawClient, startNode, text } from "../gateway/support.js";
import { postgres, type TestDatabase } from "../support/databases.js";

const open = postgres();
let database: TestDatabase;
beforeAll(async () => {
  database = await open();
  await declareNotes(database);
  await database.db.query("select perch.declare_encrypted_table(app_id => 'app', table_name => 'diaries')");
  await makeSpace(database, "team", "ada");
});

it("a node with the rights of perch_worker serves encrypted rooms and presence, to other nodes as well", async () => {
  const db = await database.login("perch_worker");
  const [one, two] = [await startNode(database, { db }), await startNode(database, { db })];
  const { record } = await encryptDeltaSpan(
    text("x"),
    { peerId: text("1"), start: 0, end: 1, keyId: "k" },
    new Uint8Array(32),
  );
  const store = new EphemeralStore(30_000);
  cleanup(() => store.destroy());
  store.set("ada", "here");
  const [writer, reader] = [await rawClient(one), await rawClient(two)];
  for (const [roomId, crdt, update] of [
    ["team/app/diaries/x", "%ELO", encodeEloContainer([record])],
    ["team/app/notes/x", "%EPS", store.encodeAll()],
  ] as const) {
    await writer.join(roomId, { token: "ada", crdt });
    expect(await writer.update(roomId, [update], crdt)).toBe(0);
    await reader.join(roomId, { token: "ada", crdt });
    expect(await reader.next(MessageType.DocUpdate)).toMatchObject({ crdt, updates: [update] });
  }
});
