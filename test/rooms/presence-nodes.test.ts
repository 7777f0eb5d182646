import { LoroEphemeralAdaptor, LoroPersistentStoreAdaptor } from "loro-adaptors/loro";
import { EphemeralStore } from "loro-crdt";
import { MessageType } from "loro-protocol";
import { beforeAll, describe, expect, it } from "vitest";
import {
  cleanup,
  declareNotes,
  makeSpace,
  officialClient,
  rawClient,
  startNode,
  text,
  until,
} from "../gateway/support.js";
import { describeBothKinds, postgres, type TestDatabase } from "../support/databases.js";
import { pause } from "../support/until.js";

type Store = EphemeralStore<Record<string, string>>;

function newStore(): Store {
  const store = new EphemeralStore<Record<string, string>>(60_000);
  cleanup(() => store.destroy());
  return store;
}

function updateOf(states: Record<string, string>): Uint8Array {
  const store = newStore();
  for (const [key, value] of Object.entries(states)) store.set(key, value);
  return store.encodeAll();
}

/** What a store makes of the updates. */
function statesOf(updates: readonly Uint8Array[]): Record<string, unknown> {
  const store = newStore();
  for (const update of updates) store.apply(update);
  return store.getAllStates();
}

async function prepare(database: TestDatabase): Promise<void> {
  await declareNotes(database);
  await makeSpace(database, "team", "ada", { bob: "editor", eve: "viewer" });
}

const storedRows = (database: TestDatabase, recordId: string) =>
  database.db.query<{ kind: string }>("select kind from perch.presence where record_id = $1", [recordId]);

describeBothKinds("persisted presence", (open) => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await open();
    await prepare(database);
  });

  it("is there for those who come when everybody has left, on a node that was started since", async () => {
    const roomId = "team/app/notes/p1";
    const first = await startNode(database);
    const ada = newStore();
    const client = officialClient(first);
    const room = await client.join({ roomId, crdtAdaptor: new LoroPersistentStoreAdaptor(ada), auth: text("ada") });
    ada.set("ada", "was here");
    await until(async () => (await storedRows(database, "p1")).length === 1);
    await room.leave();
    client.destroy();
    await first.stop();

    const second = await startNode(database);
    const bob = newStore();
    await officialClient(second).join({
      roomId,
      crdtAdaptor: new LoroPersistentStoreAdaptor(bob),
      auth: text("bob"),
    });
    await until(() => bob.get("ada") === "was here");
  });

  it("is acknowledged when it is stored, kept apart from what is not persisted, and shown to members only", async () => {
    const roomId = "team/app/notes/p2";
    const node = await startNode(database);
    const [ada, eve, mallory] = [await rawClient(node), await rawClient(node), await rawClient(node)];
    expect(await ada.join(roomId, { token: "ada", crdt: "%EPS" })).toMatchObject({ permission: "write" });
    expect(await ada.update(roomId, [updateOf({ ada: "x" })], "%EPS")).toBe(0);
    expect(await storedRows(database, "p2")).toEqual([{ kind: "persisted" }]);
    expect(await mallory.join(roomId, { token: "mallory", crdt: "%EPS" })).toMatchObject({ code: 2 });
    expect(await eve.join(roomId, { token: "eve", crdt: "%EPH" })).toMatchObject({ permission: "read" });
    expect(eve.inbox).toEqual([]);
    expect(await eve.join(roomId, { token: "eve", crdt: "%EPS" })).toMatchObject({ permission: "read" });
    expect(statesOf((await eve.next(MessageType.DocUpdate)).updates)).toEqual({ ada: "x" });
    expect(await eve.update(roomId, [updateOf({ eve: "x" })], "%EPS")).toBe(3);
    const other = await rawClient(await startNode(database, { env: { PERCH_PRESENCE_INTERVAL_MS: "1" } }));
    await other.join(roomId, { token: "bob", crdt: "%EPS" });
    expect(statesOf((await other.next(MessageType.DocUpdate)).updates)).toEqual({ ada: "x" });
    // What is in the backfill does not come again.
    expect(await other.update(roomId, [updateOf({ bob: "y" })], "%EPS")).toBe(0);
    expect(other.inbox).toEqual([]);
  });

  it("is forgotten after its time, here and in the database", async () => {
    const roomId = "team/app/notes/p3";
    const node = await startNode(database, { env: { PERCH_PERSISTED_PRESENCE_MS: "50" } });
    const ada = await rawClient(node);
    await ada.join(roomId, { token: "ada", crdt: "%EPS" });
    expect(await ada.update(roomId, [updateOf({ ada: "x" })], "%EPS")).toBe(0);
    const expired = "select from perch.presence where record_id = 'p3' and expires_at < clock_timestamp()";
    await until(async () => (await database.db.query(expired)).length === 1);
    const bob = await rawClient(node);
    await bob.join(roomId, { token: "bob", crdt: "%EPS" });
    // A member's own frame is answered after whatever was sent to it before.
    expect(await bob.update(roomId, [updateOf({ bob: "y" })], "%EPS")).toBe(0);
    expect(bob.inbox).toEqual([]);
    expect(await storedRows(database, "p3")).toHaveLength(1);
  });

  it("that the database would not take is refused alone: too long a key, too much for the room", async () => {
    const roomId = "team/app/notes/p4";
    const node = await startNode(database, { env: { PERCH_MAX_PRESENCE_BYTES: "10000" } });
    for (const [states, status] of [
      [{ ["k".repeat(1_025)]: "x" }, 5],
      [{ ada: "x".repeat(10_000) }, 5],
      [{ ["k".repeat(1_024)]: "x" }, 0],
    ] as const) {
      const ada = await rawClient(node);
      await ada.join(roomId, { token: "ada", crdt: "%EPS" });
      expect(await ada.update(roomId, [updateOf(states)], "%EPS")).toBe(status);
    }
    expect(await storedRows(database, "p4")).toHaveLength(1);
  });

  it("that could not be stored is acknowledged as failed, and is stored later all the same", async () => {
    const roomId = "team/app/notes/p5";
    const node = await startNode(database);
    const ada = await rawClient(node);
    await ada.join(roomId, { token: "ada", crdt: "%EPS" });
    await database.db.query(`create or replace function perch.broken() returns trigger language plpgsql as
      $$ begin raise exception 'out of order' using errcode = '53100'; end $$`);
    await database.db.query(
      "create trigger broken before insert on perch.presence for each row execute function perch.broken()",
    );
    const repair = () => database.db.query("drop trigger if exists broken on perch.presence");
    cleanup(repair);
    expect(await ada.update(roomId, [updateOf({ ada: "x" })], "%EPS")).toBe(1);
    await repair();
    await until(async () => (await storedRows(database, "p5")).length === 1);
  });
});

describe("presence on two nodes", () => {
  const open = postgres();
  let database: TestDatabase;
  let rooms = 0;
  const newRoom = () => `team/app/notes/n${++rooms}`;
  beforeAll(async () => {
    database = await open();
    await prepare(database);
  });

  it("of official clients reaches those of the other, and those who come later", async () => {
    const [one, two] = [await startNode(database), await startNode(database)];
    const roomId = newRoom();
    const stores = { ada: newStore(), bob: newStore(), eve: newStore() };
    const enter = (node: { url: string }, user: keyof typeof stores) =>
      officialClient(node).join({ roomId, crdtAdaptor: new LoroEphemeralAdaptor(stores[user]), auth: text(user) });
    await enter(one, "ada");
    await enter(two, "bob");
    stores.ada.set("ada", "here");
    stores.bob.set("bob", "there");
    await until(() => stores.bob.get("ada") === "here" && stores.ada.get("bob") === "there");
    await enter(two, "eve");
    await until(() => stores.eve.get("ada") === "here" && stores.eve.get("bob") === "there");
    stores.ada.delete("ada");
    await until(() => stores.bob.get("ada") === undefined && stores.eve.get("ada") === undefined);
  });

  it("is not written while there is one node, and is known to a second from its start", async () => {
    // Those of earlier tests are gone, whether they had the time to say so or not.
    await database.db.query("delete from perch.presence_nodes");
    const one = await startNode(database);
    const roomId = newRoom();
    const ada = await rawClient(one);
    await ada.join(roomId, { token: "ada", crdt: "%EPH" });
    expect(await ada.update(roomId, [updateOf({ ada: "here" })], "%EPH")).toBe(0);
    expect(await storedRows(database, roomId.split("/")[3] ?? "")).toEqual([]);
    const two = await startNode(database);
    const bob = newStore();
    await officialClient(two).join({ roomId, crdtAdaptor: new LoroEphemeralAdaptor(bob), auth: text("bob") });
    await until(() => bob.get("ada") === "here");
  });

  it("notifies with numbers only, and reaches nobody whose room is another", async () => {
    const [one, two] = [await startNode(database), await startNode(database)];
    const payloads: string[] = [];
    const listening = await database.db.listen(["perch_presence"], {
      notify: (_channel, payload) => void payloads.push(payload),
      ready: () => undefined,
    });
    cleanup(() => listening.close());
    const [roomId, otherRoom] = [newRoom(), newRoom()];
    const [ada, bob, eve] = [await rawClient(one), await rawClient(two), await rawClient(two)];
    await ada.join(roomId, { token: "ada", crdt: "%EPH" });
    await bob.join(roomId, { token: "bob", crdt: "%EPH" });
    await eve.join(otherRoom, { token: "eve", crdt: "%EPH" });
    await until(async () => {
      await ada.update(roomId, [updateOf({ ada: "a secret" })], "%EPH");
      return bob.inbox.length > 0;
    });
    expect(statesOf((await bob.next(MessageType.DocUpdate)).updates)).toEqual({ ada: "a secret" });
    expect(eve.inbox).toEqual([]);
    expect(payloads.length).toBeGreaterThan(0);
    for (const payload of payloads) expect(payload).toMatch(/^\{"v": 1, "(seq": \d+|node": true)\}$/);
  });

  it("arrives although no notification does", async () => {
    const deaf = { ...database.db, listen: async () => ({ close: async () => undefined }) };
    const [one, two] = [await startNode(database, { db: deaf }), await startNode(database, { db: deaf })];
    const roomId = newRoom();
    const [ada, bob] = [await rawClient(one), await rawClient(two)];
    await bob.join(roomId, { token: "bob", crdt: "%EPS" });
    await ada.join(roomId, { token: "ada", crdt: "%EPS" });
    expect(await ada.update(roomId, [updateOf({ ada: "here" })], "%EPS")).toBe(0);
    expect(statesOf((await bob.next(MessageType.DocUpdate)).updates)).toEqual({ ada: "here" });
  });

  it("that could not be stored while it counted is not stored later, nor kept until then", async () => {
    const env = { PERCH_PRESENCE_TIMEOUT_MS: "200" };
    const [one, two] = [await startNode(database, { env }), await startNode(database, { env })];
    const [roomId, otherRoom] = [newRoom(), newRoom()];
    const [ada, bob] = [await rawClient(one), await rawClient(two)];
    await ada.join(roomId, { token: "ada", crdt: "%EPH" });
    await ada.join(otherRoom, { token: "ada", crdt: "%EPH" });
    await bob.join(roomId, { token: "bob", crdt: "%EPH" });
    const stored = (room: string) => storedRows(database, room.split("/")[3] ?? "");
    // Until this node knows of the other.
    await until(async () => {
      await ada.update(otherRoom, [updateOf({ ada: "here" })], "%EPH");
      return (await stored(otherRoom)).length > 0;
    });
    await database.db.query(`create or replace function perch.broken() returns trigger language plpgsql as
      $$ begin raise exception 'out of order' using errcode = '53100'; end $$`);
    await database.db.query(
      "create trigger broken before insert on perch.presence for each row execute function perch.broken()",
    );
    const repair = () => database.db.query("drop trigger if exists broken on perch.presence");
    cleanup(repair);
    await ada.update(roomId, [updateOf({ old: "was here" })], "%EPH");
    await pause(500);
    await repair();
    await until(async () => {
      await ada.update(roomId, [updateOf({ ada: "here" })], "%EPH");
      return (await stored(roomId)).length > 0;
    });
    const keys = "select convert_from(entry_key, 'UTF8') as key from perch.presence where record_id = $1";
    expect(await database.db.query(keys, [roomId.split("/")[3]])).toEqual([{ key: "ada" }]);
  });
});
