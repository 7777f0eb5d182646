import { LoroEphemeralAdaptor } from "loro-adaptors/loro";
import { EphemeralStore } from "loro-crdt";
import { MessageType } from "loro-protocol";
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { gatewaySettings } from "../../src/gateway/settings.js";
import type { Permission } from "../../src/protocol/protocol.js";
import { presenceEntries, presenceUpdate } from "../../src/rooms/presence-entries.js";
import type { PresenceExchange } from "../../src/rooms/presence-exchange.js";
import { createPresence as createRooms } from "../../src/rooms/presence-room.js";
import type { Channel, RoomReader } from "../../src/rooms/room.js";
import {
  cleanup,
  declareNotes,
  makeSpace,
  officialClient,
  randomText,
  rawClient,
  startNode,
  text,
  until,
} from "../gateway/support.js";
import { pglite, type TestDatabase } from "../support/databases.js";
import { fakeClock } from "../support/fake-clock.js";

function storeWith(states: Record<string, string>): EphemeralStore<Record<string, string>> {
  const store = new EphemeralStore<Record<string, string>>(30_000);
  cleanup(() => store.destroy());
  for (const [key, value] of Object.entries(states)) store.set(key, value);
  return store;
}

/** What a store makes of the updates. */
function statesOf(updates: readonly Uint8Array[]): Record<string, unknown> {
  const store = storeWith({});
  for (const update of updates) store.apply(update);
  return store.getAllStates();
}

describe("presence of official and raw clients", () => {
  const open = pglite();
  let database: TestDatabase;
  let rooms = 0;
  const newRoom = () => `team/app/notes/e${++rooms}`;
  beforeAll(async () => {
    database = await open();
    await declareNotes(database);
    await makeSpace(database, "team", "ada", { bob: "editor", eve: "viewer" });
  });

  it("reaches the others, and those who come later", async () => {
    const node = await startNode(database);
    const roomId = newRoom();
    const stores = { ada: storeWith({}), bob: storeWith({}), eve: storeWith({}) };
    const enter = (user: keyof typeof stores) =>
      officialClient(node).join({ roomId, crdtAdaptor: new LoroEphemeralAdaptor(stores[user]), auth: text(user) });
    await enter("ada");
    await enter("bob");
    stores.ada.set("ada", "here");
    stores.bob.set("bob", "there");
    await until(() => stores.bob.get("ada") === "here" && stores.ada.get("bob") === "there");
    await enter("eve");
    await until(() => stores.eve.get("ada") === "here" && stores.eve.get("bob") === "there");
    stores.ada.set("ada", "moved");
    await until(() => stores.bob.get("ada") === "moved" && stores.eve.get("ada") === "moved");
    stores.ada.delete("ada");
    await until(() => stores.bob.get("ada") === undefined && stores.eve.get("ada") === undefined);
  });

  it("is acknowledged, not sent back, and kept apart from the document of the same room", async () => {
    const node = await startNode(database);
    const roomId = newRoom();
    const [one, two, three] = [await rawClient(node), await rawClient(node), await rawClient(node)];
    expect(await one.join(roomId, { token: "ada", crdt: "%EPH" })).toMatchObject({ version: new Uint8Array([0]) });
    await two.join(roomId, { token: "bob", crdt: "%EPH" });
    await three.join(roomId, { token: "bob" });
    expect(await one.update(roomId, [storeWith({ ada: "x" }).encodeAll()], "%EPH")).toBe(0);
    expect(statesOf((await two.next(MessageType.DocUpdate)).updates)).toEqual({ ada: "x" });
    expect([one.inbox, three.inbox]).toEqual([[], []]);
  });

  it("that is none is refused with 04 and reaches nobody", async () => {
    const node = await startNode(database);
    const roomId = newRoom();
    const [one, two] = [await rawClient(node), await rawClient(node)];
    await one.join(roomId, { token: "ada", crdt: "%EPH" });
    await two.join(roomId, { token: "bob", crdt: "%EPH" });
    expect(await one.update(roomId, [text("no presence")], "%EPH")).toBe(4);
    await two.update(roomId, [], "%EPH");
    expect(two.inbox).toEqual([]);
  });

  it("of a viewer is refused, unless viewers may show theirs", async () => {
    const roomId = newRoom();
    const update = storeWith({ eve: "looking" }).encodeAll();
    for (const [setting, permission, status] of [
      ["false", "read", 3],
      ["true", "write", 0],
    ] as const) {
      const node = await startNode(database, { env: { PERCH_VIEWER_PRESENCE: setting } });
      const viewer = await rawClient(node);
      expect(await viewer.join(roomId, { token: "eve", crdt: "%EPH" })).toMatchObject({ permission });
      expect(await viewer.update(roomId, [update], "%EPH")).toBe(status);
      expect(await viewer.join(roomId, { token: "mallory", crdt: "%EPH" })).toMatchObject({ code: 2 });
    }
  });

  it("of many is passed on in few frames, larger ones in fragments", async () => {
    const node = await startNode(database, {
      env: { PERCH_PRESENCE_INTERVAL_MS: "100", PERCH_MAX_PRESENCE_BYTES: "2000000" },
    });
    const roomId = newRoom();
    const [one, two] = [await rawClient(node), await rawClient(node)];
    await one.join(roomId, { token: "ada", crdt: "%EPH" });
    await two.join(roomId, { token: "bob", crdt: "%EPH" });
    const store = storeWith({});
    let lastSet = 0;
    const began = performance.now();
    for (let n = 0; n < 300; n++) {
      // Of two entries with the same millisecond, stores keep the first. The store looks at the clock within `set`.
      await until(() => Date.now() > lastSet);
      store.set("ada", `step ${n}`);
      lastSet = Date.now();
      one.send({
        type: MessageType.DocUpdate,
        crdt: "%EPH",
        roomId,
        updates: [store.encode("ada")],
        batchId: `0x${n.toString(16).padStart(16, "0")}`,
      });
    }
    const frames: Uint8Array[] = [];
    await until(() => {
      for (const message of two.inbox.splice(0))
        if (message.type === MessageType.DocUpdate) frames.push(...message.updates);
      return frames.length > 0 && statesOf(frames).ada === "step 299";
    });
    // One in a tenth of a second, whatever the machine takes for so many.
    expect(frames.length).toBeLessThan(5 + (performance.now() - began) / 100);
    expect(await one.update(roomId, [storeWith({ large: randomText(200_000) }).encodeAll()], "%EPH")).toBe(0);
    expect(await one.update(roomId, [storeWith({ larger: randomText(200_000) }).encodeAll()], "%EPH")).toBe(0);
    const late = await rawClient(node);
    await late.join(roomId, { token: "bob", crdt: "%EPH" });
    expect(await late.next(MessageType.DocUpdateFragmentHeader)).toMatchObject({ fragmentCount: 2 });
  });
});

describe("a presence room", () => {
  let timers: () => string[];
  beforeEach(() => {
    timers = fakeClock("src/rooms/");
  });
  afterEach(() => {
    vi.useRealTimers();
  });
  const settings = gatewaySettings(
    { PERCH_MAX_PRESENCE_BYTES: "1000", PERCH_MAX_PRESENCE_KEYS: "3" },
    { development: true },
  );
  /** One node alone. */
  const nobody: PresenceExchange = {
    load: async () => [],
    store: async () => undefined,
    hasOthers: () => false,
    close: async () => undefined,
  };
  const createPresence = (with_: typeof settings) => createRooms(with_, nobody);
  const key = { spaceId: "s", appId: "a", tableName: "t", recordId: "r" };
  const head = Buffer.concat([Buffer.from("%EPH"), Buffer.from([1]), Buffer.from("r")]);

  function reader(): RoomReader & { offers: number; open: boolean; held: number } {
    const it = {
      held: 0,
      head,
      roomKey: head.toString("latin1"),
      offers: 0,
      open: true,
      deliver: () => undefined,
      offer: () => {
        if (it.open) it.offers += 1;
        return it.open;
      },
      end: () => undefined,
      rejoin: () => undefined,
      refused: () => undefined,
      hold: (bytes: number) => {
        it.held += bytes;
      },
    };
    return it;
  }
  const enter = (
    presence: ReturnType<typeof createPresence>,
    who: RoomReader,
    access: Permission = "write",
    userId = "ada",
  ): Promise<Channel> =>
    presence.open("ephemeral")({
      key,
      access,
      reader: who,
      version: new Uint8Array([0]),
      identity: { userId, expiresAt: Number.POSITIVE_INFINITY },
    });
  const own = (update: Uint8Array) => new Uint8Array(update) as Uint8Array<ArrayBuffer>;
  const entry = (name: string, value = "x") => own(storeWith({ [name]: value }).encodeAll());

  it("leaves no timer and no memory behind when its last reader has gone", async () => {
    const presence = createPresence(settings);
    const [one, two] = [reader(), reader()];
    const [a, b] = [await enter(presence, one), await enter(presence, two)];
    const update = entry("ada");
    expect(a.submit([update])).toBe(0);
    expect(timers()).not.toEqual([]);
    two.open = false;
    await vi.advanceTimersByTimeAsync(100);
    expect(presence.rooms).toBe(1);
    a.close();
    b.close();
    b.close();
    expect(presence.rooms).toBe(0);
    expect(timers()).toEqual([]);
    expect((await enter(presence, reader())).backfill).toEqual([]);
  });

  it("gives a late reader the newest entry of each key, while it is fresh", async () => {
    const presence = createPresence(settings);
    const channel = await enter(presence, reader());
    const old = entry("ada", "old");
    vi.advanceTimersByTime(5);
    channel.submit([entry("ada", "new")]);
    channel.submit([old]);
    vi.advanceTimersByTime(20_000);
    channel.submit([entry("bob", "later")]);
    expect(statesOf((await enter(presence, reader())).backfill)).toEqual({ ada: "new", bob: "later" });
    vi.advanceTimersByTime(15_000);
    expect(statesOf((await enter(presence, reader())).backfill)).toEqual({ bob: "later" });
  });

  it("keeps the last of what one sender set within a millisecond, and goes on when the clock is set back", async () => {
    const presence = createPresence(settings);
    const [one, two] = [reader(), reader()];
    const channel = await enter(presence, one);
    await enter(presence, two);
    channel.submit([entry("ada", "first")]);
    channel.submit([entry("ada", "second")]);
    expect(statesOf((await enter(presence, reader())).backfill)).toEqual({ ada: "second" });
    await vi.advanceTimersByTimeAsync(100);
    expect(two.offers).toBe(1);
    vi.setSystemTime(Date.now() - 3_600_000);
    channel.submit([entry("bob")]);
    await vi.advanceTimersByTimeAsync(100);
    expect(two.offers).toBe(2);
  });

  it("catches a reader up that could take nothing for a while", async () => {
    const presence = createPresence(settings);
    const [one, two] = [reader(), reader()];
    const channel = await enter(presence, one);
    await enter(presence, two);
    two.open = false;
    channel.submit([entry("ada")]);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(two.offers).toBe(0);
    two.open = true;
    await vi.advanceTimersByTimeAsync(1_000);
    expect([one.offers, two.offers]).toEqual([0, 1]);
  });

  /** A channel of a user who has been there: what they send first is what they knew. */
  async function present(presence: ReturnType<typeof createPresence>, userId: string, who: RoomReader = reader()) {
    const channel = await enter(presence, who, "write", userId);
    expect(channel.submit([])).toBe(0);
    return channel;
  }
  const shown = async (presence: ReturnType<typeof createPresence>) =>
    statesOf((await enter(presence, reader(), "write", "somebody else")).backfill);

  it("lets nobody set or delete the key of a user who is there", async () => {
    const presence = createPresence(settings);
    const ada = await present(presence, "ada");
    const eve = await present(presence, "eve");
    expect(ada.submit([entry("cursor", "mine")])).toBe(0);
    vi.advanceTimersByTime(60_000);
    expect(ada.submit([entry("cursor", "still mine")])).toBe(0);
    vi.advanceTimersByTime(100);
    const deletion = storeWith({ cursor: "x" });
    deletion.delete("cursor");
    expect(eve.submit([entry("cursor", "eve's")])).toBe(3);
    expect(eve.submit([own(deletion.encodeAll())])).toBe(3);
    expect(eve.submit([entry("cursor", "eve's"), entry("other", "eve's own")])).toBe(3);
    expect(await shown(presence)).toEqual({ cursor: "still mine", other: "eve's own" });
    expect(ada.submit([entry("cursor", "moved")])).toBe(0);
    ada.close();
    vi.advanceTimersByTime(31_000);
    expect(eve.submit([entry("cursor", "free by now")])).toBe(0);
    expect(await shown(presence)).toEqual({ cursor: "free by now" });
  });

  it("makes no key the key of a client that hands on what it knew when it joined", async () => {
    const presence = createPresence(settings);
    const known = entry("ada", "before the node was restarted");
    const bob = await enter(presence, reader(), "write", "bob");
    expect(bob.submit([known])).toBe(0);
    vi.advanceTimersByTime(10);
    const ada = await present(presence, "ada");
    const newer = entry("ada", "here again");
    expect(ada.submit([newer])).toBe(0);
    const late = await enter(presence, reader(), "write", "carl");
    expect(late.submit([known])).toBe(0);
    expect((await enter(presence, reader(), "write", "dora")).submit([newer])).toBe(0);
    expect(await shown(presence)).toEqual({ ada: "here again" });
  });

  it("takes a time that is still to come for now, so that it silences no key", async () => {
    const presence = createPresence(settings);
    const ada = await present(presence, "ada");
    const now = Date.now();
    vi.setSystemTime(now + 24 * 3_600_000);
    const early = entry("ada", "a day early");
    vi.setSystemTime(now);
    expect(ada.submit([early])).toBe(0);
    expect(await shown(presence)).toEqual({ ada: "a day early" });
    vi.advanceTimersByTime(5_001);
    expect(ada.submit([entry("ada", "in time")])).toBe(0);
    const { backfill } = await enter(presence, reader());
    expect(statesOf(backfill)).toEqual({ ada: "in time" });
    // Stores compare the times themselves.
    const store = new EphemeralStore(60_000);
    store.apply(presenceUpdate(presenceEntries(Buffer.from(early), now + 5_000) ?? []));
    for (const update of backfill) store.apply(update);
    expect(store.get("ada")).toBe("in time");
    store.destroy();
  });

  it("takes what is set by a clock that is behind for set now, so that it is shown, and what is handed on for as old as it is", async () => {
    const presence = createPresence(settings);
    const bob = await present(presence, "bob");
    const now = Date.now();
    const at = (time: number, name: string, value?: string) => {
      vi.setSystemTime(time);
      const update = entry(name, value);
      vi.setSystemTime(now);
      return update;
    };
    expect(bob.submit([at(now - 40_000, "bob")])).toBe(0);
    expect(bob.submit([at(now - 39_999, "bob", "moved")])).toBe(0);
    expect((await enter(presence, reader(), "write", "carl")).submit([at(now - 40_000, "dora")])).toBe(0);
    const { backfill } = await enter(presence, reader());
    const [update = new Uint8Array()] = backfill;
    expect(presenceEntries(Buffer.from(update))).toMatchObject([
      { key: "bob", setAt: now - 5_000 },
      { key: "dora", setAt: now - 40_000 },
    ]);
    // Stores take what is older than their time-out for expired.
    expect(statesOf(backfill)).toEqual({ bob: "moved" });
  });

  it("lets an entry that has expired stand in nobody's way, whatever their clock says", async () => {
    const presence = createPresence(settings);
    const ada = await present(presence, "ada");
    const now = Date.now();
    vi.setSystemTime(now - 3_600_000);
    const late = entry("ada", "by a clock that is an hour late");
    vi.setSystemTime(now);
    expect(ada.submit([entry("ada", "by a good clock")])).toBe(0);
    vi.advanceTimersByTime(31_000);
    // What is set now is set now (see below); this is handed on.
    expect((await enter(presence, reader(), "write", "ada")).submit([late])).toBe(0);
    const [update = new Uint8Array()] = (await enter(presence, reader())).backfill;
    expect(presenceEntries(Buffer.from(update))).toMatchObject([{ key: "ada", setAt: now - 3_600_000 }]);
  });

  it("counts what keys take besides their bytes, for whoever set them, and has room for so many", async () => {
    const presence = createPresence(gatewaySettings({ PERCH_MAX_PRESENCE_KEYS: "3" }, { development: true }));
    const [one, two] = [reader(), reader()];
    const [ada, bob] = [await present(presence, "ada", one), await present(presence, "bob", two)];
    for (const name of ["a", "b", "c"]) expect(ada.submit([entry(name)])).toBe(0);
    expect(one.held).toBeGreaterThan(900);
    expect(ada.submit([entry("d")])).toBe(5);
    expect(two.held).toBe(0);
    ada.close();
    bob.close();
    expect([presence.rooms, one.held, two.held]).toEqual([0, 0, 0]);
  });

  it("that is full takes from whoever has most what they set longest ago, up to equal shares", async () => {
    const presence = createPresence(gatewaySettings({ PERCH_MAX_PRESENCE_KEYS: "4" }, { development: true }));
    const [one, two] = [reader(), reader()];
    const [ada, eve] = [await present(presence, "ada", one), await present(presence, "eve", two)];
    expect(eve.submit(["a", "b", "c", "d"].map((name) => entry(name)))).toBe(0);
    vi.advanceTimersByTime(10);
    expect(eve.submit([entry("a", "again")])).toBe(0);
    const cost = two.held / 4;
    // What comes with one that does not fit is taken all the same.
    expect(ada.submit(["e", "f", "g"].map((name) => entry(name)))).toBe(5);
    expect(eve.submit([entry("h")])).toBe(5);
    expect(await shown(presence)).toEqual({ a: "again", d: "x", e: "x", f: "x" });
    expect(two.held).toBeLessThan(2.1 * cost);
    // Also where bytes are short: who is refused has taken nothing.
    const small = createPresence(settings);
    const [carl, dora] = [await present(small, "carl"), await present(small, "dora")];
    expect(carl.submit([entry("large", "y".repeat(500))])).toBe(0);
    expect(dora.submit([entry("larger", "y".repeat(600))])).toBe(5);
    expect(await shown(small)).toEqual({ large: "y".repeat(500) });
    expect(dora.submit([entry("small")])).toBe(0);
    expect(await shown(small)).toEqual({ small: "x" });
  });

  it("goes on showing what is known of what other nodes have, although not everything new fits", async () => {
    const presence = createPresence(settings);
    const ada = await present(presence, "ada");
    expect(ada.submit([entry("mine")])).toBe(0);
    let time = Date.now();
    const arrive = (...names: string[]) =>
      presence.arrived(
        { key, kind: "ephemeral" },
        names.map((name) => {
          const [one] = presenceEntries(Buffer.from(entry(name, `${++time}`))) ?? [];
          if (one === undefined) throw new Error("no entry");
          return { ...one, setAt: time, userId: "bob", broughtBy: "bob", keepMs: 30_000, heldMs: 30_000 };
        }),
      );
    arrive("b", "c");
    arrive("d", "e", "c");
    expect(await shown(presence)).toEqual({ mine: "x", b: `${time - 4}`, c: `${time}` });
  });

  it("keeps a key for its user while they are there, however still", async () => {
    const presence = createPresence(settings);
    const [ada, eve] = [await present(presence, "ada"), await present(presence, "eve")];
    const known = entry("cursor", "mine");
    expect(ada.submit([known])).toBe(0);
    vi.advanceTimersByTime(40_000);
    expect(await shown(presence)).toEqual({});
    expect((await enter(presence, reader(), "write", "bob")).submit([known])).toBe(0);
    expect(eve.submit([entry("cursor", "eve's")])).toBe(3);
    const elsewhere = { key: "cursor", bytes: new Uint8Array(), setAt: Date.now(), userId: "eve", broughtBy: "eve" };
    presence.arrived({ key, kind: "ephemeral" }, [{ ...elsewhere, keepMs: 30_000, heldMs: 30_000 }]);
    expect(await shown(presence)).toEqual({});
    // Others who fill the room leave it theirs.
    expect(eve.submit(["a", "b", "c"].map((name) => entry(name)))).toBe(5);
    expect(eve.submit([entry("cursor", "eve's")])).toBe(3);
    expect(ada.submit([entry("cursor", "moved")])).toBe(0);
    expect(await shown(presence)).toMatchObject({ cursor: "moved" });
    ada.close();
    vi.advanceTimersByTime(40_000);
    expect(eve.submit([entry("cursor", "free by now")])).toBe(0);
  });

  it("stores a persisted key again for its user while they are there, so that it stays theirs on other nodes", async () => {
    const stored: { key: string; keepMs: number }[] = [];
    const exchange = { ...nobody, hasOthers: () => true };
    const two = createRooms(settings, nobody);
    const one = createRooms(settings, {
      ...exchange,
      async store(address, entries) {
        stored.push(...entries);
        two.arrived(address, entries);
      },
    });
    const join = async (presence: typeof one, userId: string) => {
      const identity = { userId, expiresAt: Number.POSITIVE_INFINITY };
      const entering = { key, access: "write" as const, reader: reader(), version: new Uint8Array([0]), identity };
      const channel = await presence.open("persisted")(entering);
      await channel.submit([]);
      return channel;
    };
    const [ada, eve] = [await join(one, "ada"), await join(two, "eve")];
    expect(await ada.submit([entry("cursor", "mine")])).toBe(0);
    for (let n = 0; n < 12; n++) {
      vi.advanceTimersByTime(5_000);
      one.renew();
    }
    expect(stored.map((one) => one.key)).toEqual(Array(4).fill("cursor"));
    // It counts no longer than it did.
    expect(stored.at(-1)?.keepMs).toBeLessThan((stored[0]?.keepMs ?? 0) - 40_000);
    expect(eve.submit([entry("cursor", "eve's")])).toBe(3);
    ada.close();
    vi.advanceTimersByTime(31_000);
    one.renew();
    expect(await eve.submit([entry("cursor", "free by now")])).toBe(0);
  });

  it("takes nothing of a batch apart that no room has place for, in however many updates it comes", async () => {
    const presence = createPresence(settings);
    const channel = await enter(presence, reader());
    expect(channel.submit(Array.from({ length: 3 }, () => entry("ada")))).toBe(0);
    // What is behind the fourth entry is not even looked at.
    const four = Array.from({ length: 4 }, () => entry("ada"));
    expect(channel.submit([...four, own(Buffer.from([1]))])).toBe(5);
    const list = Buffer.concat([Buffer.from([1, 1, 97, 1, 5, 0xe8, 0x07]), Buffer.alloc(1_000), Buffer.from([2])]);
    expect(channel.submit([own(list)])).toBe(5);
  });

  it("is bounded, and makes room by what is no longer fresh", async () => {
    const presence = createPresence(settings);
    const channel = await enter(presence, reader());
    expect(channel.submit([entry("ada", "y".repeat(300))])).toBe(0);
    expect(channel.submit([entry("bob", "y".repeat(300))])).toBe(5);
    vi.advanceTimersByTime(31_000);
    expect(channel.submit([entry("bob", "y".repeat(300))])).toBe(0);
  });
});
