import { LoroAdaptor } from "loro-adaptors/loro";
import { LoroDoc, type PeerID } from "loro-crdt";
import { MessageType } from "loro-protocol";
import { beforeAll, describe, expect, it } from "vitest";
import { DocumentStore } from "../../src/documents/store/store.js";
import {
  cleanup,
  declareNotes,
  makeSpace,
  officialClient,
  type RawClient,
  rawClient,
  startNode,
  text,
  typed,
  until,
} from "../gateway/support.js";
import { postgres, type TestDatabase } from "../support/databases.js";
import { inbox, pushUpdate, startWorkerNode } from "../worker/support.js";

const open = postgres();
let database: TestDatabase;
let rooms = 0;
const newRecord = () => `p${++rooms}`;
const roomOf = (record: string) => `team/app/notes/${record}`;
const keyOf = (recordId: string) => ({ spaceId: "team", appId: "app", tableName: "notes", recordId });

beforeAll(async () => {
  database = await open();
  await declareNotes(database);
  await makeSpace(database, "team", "ada", { bob: "editor", eve: "editor" });
});

/** As if so much time had gone since everything that was written. */
const later = (record: string, interval = "2 minutes") =>
  database.db.query("update perch.document_updates set created_at = created_at - $2::interval where record_id = $1", [
    record,
    interval,
  ]);

async function bobTyping(url: string, record: string) {
  const doc = new LoroDoc();
  const refused: number[] = [];
  const client = officialClient({ url });
  const adaptor = new LoroAdaptor(doc, { onUpdateError: (_, code) => refused.push(code) });
  await client.join({ roomId: roomOf(record), crdtAdaptor: adaptor, auth: text("bob") });
  const type = (letters: string) => {
    doc.getText("body").push(letters);
    doc.commit();
  };
  return { doc, refused, type, body: () => doc.getText("body").toString() };
}

/** A replica that writes under the peer of another, on top of what is there. */
function forge(of: LoroDoc, letters: string): Uint8Array {
  const doc = LoroDoc.fromSnapshot(of.export({ mode: "snapshot" }));
  doc.setPeerId(of.peerIdStr as PeerID);
  return typed(doc, letters);
}

async function joined(client: RawClient, record: string, user: string): Promise<LoroDoc> {
  const doc = new LoroDoc();
  const answer = await client.join(roomOf(record), { token: user });
  expect(answer.type).toBe(MessageType.JoinResponseOk);
  const wanted = (answer as { version: Uint8Array }).version;
  await until(() => {
    for (const message of client.inbox.splice(0)) {
      if (message.type === MessageType.DocUpdate) for (const update of message.updates) doc.import(update);
    }
    return doc.oplogVersion().encode().length === wanted.length;
  });
  return doc;
}

const bodyOf = async (url: string, record: string) =>
  (await joined(await rawClient({ url }), record, "ada")).getText("body").toString();

const authors = (record: string) =>
  database.db
    .query<{ user_id: string }>("select user_id from perch.document_updates where record_id = $1 order by seq", [
      record,
    ])
    .then((rows) => rows.map(({ user_id }) => user_id));

describe("the peer of another writer", () => {
  it.each([1, 40])(
    "takes nothing of somebody else while its owner types: no word is lost (%i letters)",
    async (length) => {
      const [here, there] = [await startNode(database), await startNode(database)];
      const record = newRecord();
      const bob = await bobTyping(here.url, record);
      bob.type("TYPED0 ");
      await until(async () => (await authors(record)).length > 0);
      for (const node of [here, there]) {
        const eve = await rawClient(node);
        await joined(eve, record, "eve");
        // Just before the next words of bob, which will have the same names.
        expect(await eve.update(roomOf(record), [forge(bob.doc, "E".repeat(length))])).toBe(4);
        bob.type(`TYPED ${node === here ? "here" : "there"} `);
      }
      await until(async () => (await bodyOf(here.url, record)) === "TYPED0 TYPED here TYPED there ");
      expect(bob.body()).toBe("TYPED0 TYPED here TYPED there ");
      expect(bob.refused).toEqual([]);
      expect(new Set(await authors(record))).toEqual(new Set(["bob"]));
    },
  );

  it("of one's own, in two programs at once: whatever is acknowledged of either is there", async () => {
    const node = await startNode(database);
    const record = newRecord();
    const writers = await Promise.all(
      [1, 2].map(async () => {
        const client = await rawClient(node);
        await joined(client, record, "ada");
        const doc = new LoroDoc();
        doc.setPeerId("7");
        return (letters: string) => client.update(roomOf(record), [typed(doc, letters)]);
      }),
    );
    const acknowledged: string[] = [];
    const refused: (number | undefined)[] = [];
    for (const [nth, letters] of ["abc", "xyz", "DEF", "UVW", "GHI", "RST"].entries()) {
      const status = await writers[nth % 2]?.(letters);
      if (status === 0) acknowledged.push(letters);
      else refused.push(status);
    }
    expect(acknowledged.slice(0, 2)).toEqual(["abc", "xyz"]);
    // Then it is out of the room, and comes back with a peer of its own.
    expect(refused[0]).toBe(4);
    await until(async () => {
      const body = await bodyOf(node.url, record);
      return acknowledged.every((letters) => body.includes(letters));
    });
  });

  it("is refused to whoever keeps trying, each time", async () => {
    const node = await startNode(database);
    const record = newRecord();
    const bob = await bobTyping(node.url, record);
    bob.type("mine");
    await until(async () => (await authors(record)).length > 0);
    const eve = await rawClient(node);
    const copy = await joined(eve, record, "eve");
    const statuses: number[] = [];
    for (let n = 0; n < 3; n++) {
      statuses.push(await eve.update(roomOf(record), [forge(bob.doc, `E${n}`)]));
      await eve.join(roomOf(record), { token: "eve" });
    }
    expect(statuses).toEqual([4, 4, 4]);
    // What is there already is nothing new, and her own peer is hers.
    expect(await eve.update(roomOf(record), [bob.doc.export({ mode: "update" })])).toBe(0);
    expect(await eve.update(roomOf(record), [typed(copy, " and hers")])).toBe(0);
    expect(await bodyOf(node.url, record)).toBe("mine and hers");
  });

  it("may be handed on once its owner is silent, and is stored as sent by whoever did", async () => {
    const node = await startNode(database);
    const record = newRecord();
    const bob = new LoroDoc();
    const raw = await rawClient(node);
    await raw.join(roomOf(record), { token: "bob" });
    expect(await raw.update(roomOf(record), [typed(bob, "online ")])).toBe(0);
    const offline = typed(bob, "offline ");
    const eve = await rawClient(node);
    const copy = await joined(eve, record, "eve");
    copy.import(offline);
    const both = copy.oplogVersion();
    typed(copy, "and eve's");
    const update = copy.export({ mode: "update", from: new LoroDoc().oplogVersion() });
    expect(both.length()).toBe(1);
    await later(record);
    expect(await eve.update(roomOf(record), [update])).toBe(0);
    expect(await bodyOf(node.url, record)).toBe("online offline and eve's");
    // Bob comes with the same, and goes on.
    const again = await rawClient(node);
    await again.join(roomOf(record), { token: "bob" });
    expect(await again.update(roomOf(record), [offline])).toBe(0);
    expect(await again.update(roomOf(record), [typed(bob, "more ")])).toBe(0);
    expect(await bodyOf(node.url, record)).toContain("more ");
    expect(await authors(record)).toEqual(["bob", "eve", "bob"]);
  });

  it("keeps the words of its owner who comes with others under the same names, and sends the owner to the server's document", async () => {
    const node = await startNode(database);
    const record = newRecord();
    const bob = new LoroDoc();
    const raw = await rawClient(node);
    await raw.join(roomOf(record), { token: "bob" });
    expect(await raw.update(roomOf(record), [typed(bob, "begun ")])).toBe(0);
    const forged = forge(bob, "EEEEEE ");
    await later(record);
    const eve = await rawClient(node);
    await joined(eve, record, "eve");
    expect(await eve.update(roomOf(record), [forged])).toBe(0);

    const back = await rawClient(node);
    await back.join(roomOf(record), { token: "bob" });
    expect(await back.update(roomOf(record), [typed(bob, "OFFLINE1 ")])).toBe(0);
    expect(await back.update(roomOf(record), [typed(bob, "OFFLINE2 ")])).toBe(0);
    expect((await back.next(MessageType.RoomError)).message).toContain("peer id");
    const reloaded = await joined(await rawClient(node), record, "bob");
    const body = reloaded.getText("body").toString();
    for (const words of ["begun", "EEEEEE", "OFFLINE1", "OFFLINE2"]) expect(body.split(words)).toHaveLength(2);
    expect(await bodyOf(node.url, record)).toBe(body);
    expect(await authors(record)).toEqual(["bob", "eve", "bob", "bob"]);
  });

  it("is nobody's when it is perch's own, and a store and the inbox keep to the same", async () => {
    const record = newRecord();
    const key = keyOf(record);
    const store = new DocumentStore();
    cleanup(() => store.close());
    const bob = new LoroDoc();
    await database.asUser("bob", (tx) => store.applyUpdate(tx, key, typed(bob, "bob's ")));
    await database.asUser("eve", (tx) => store.applyPatch(tx, key, { title: "eve's patch" }));
    const taken = { code: "PE422", message: /belongs to another writer/ };
    await expect(database.asUser("eve", (tx) => store.applyUpdate(tx, key, forge(bob, "EEE")))).rejects.toMatchObject(
      taken,
    );
    const { snapshot } = await database.asUser("eve", (tx) => store.snapshot(tx, key));
    const copy = LoroDoc.fromSnapshot(snapshot);
    const servers = [...copy.oplogVersion().toJSON().keys()].find((peer) => peer !== bob.peerIdStr) as PeerID;
    copy.setPeerId(servers);
    const underServers = typed(copy, "EEE");
    await expect(database.asUser("eve", (tx) => store.applyUpdate(tx, key, underServers))).rejects.toMatchObject(taken);
    for (const update of [forge(bob, "EEE"), underServers])
      await database.asUser("eve", (tx) => pushUpdate(tx, key, update));
    const worker = await startWorkerNode(database);
    await until(async () => (await inbox(worker.db)).every(({ status }) => status === "rejected"));
    expect((await inbox(worker.db)).map(({ error }) => error?.code)).toEqual(["PE422", "PE422"]);
    const after = await database.asUser("eve", (tx) => store.applyPatch(tx, key, { title: "again" }));
    expect(after.data).toEqual({ title: "again", body: "bob's " });
  });
});
