import { pino } from "pino";
import { beforeAll, expect, it } from "vitest";
import { createPresenceExchange } from "../../src/rooms/presence-exchange.js";
import { type PresenceAddress, putPresence, readPresence } from "../../src/rooms/presence-queries.js";
import { describeBothKinds, type TestDatabase } from "../support/databases.js";

const node = "00000000-0000-4000-8000-000000000001";
const roomOf = (recordId: string): PresenceAddress => ({
  key: { spaceId: "team", appId: "app", tableName: "notes", recordId },
  kind: "persisted",
});

describeBothKinds("persisted presence", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
  });

  const put = (recordId: string, key: string, userId: string | null, setAt: number, maxUserBytes = 2 ** 20) =>
    t.asWorker((tx) => {
      const entry = {
        key,
        bytes: new Uint8Array(100).fill(setAt),
        setAt,
        userId,
        broughtBy: userId,
        keepMs: 60_000,
        heldMs: 0,
      };
      return putPresence(tx, node, [{ room: roomOf(recordId), entry }], maxUserBytes);
    });
  const keys = async (recordId: string) =>
    (await t.asWorker((tx) => readPresence(tx, roomOf(recordId)))).map(({ key, setAt }) => `${key} ${setAt}`).sort();

  it("keeps the newest that a user has room for, over all rooms, and takes nothing of others'", async () => {
    await put("a", "bobs", "bob", 1, 1_000);
    await put("a", "nobodys", null, 1, 1_000);
    for (const [n, room] of ["a", "b", "a", "b"].entries()) await put(room, `k${n}`, "ada", 1, 1_000);
    expect([await keys("a"), await keys("b")]).toEqual([["bobs 1", "k2 1", "nobodys 1"], ["k3 1"]]);
  });

  it("is stored once for all who set a key meanwhile, however many they are", async () => {
    const exchange = createPresenceExchange({
      db: t.db,
      notifications: { add: () => () => undefined },
      log: pino({ level: "silent" }),
      intervalMs: 10,
      maxUserBytes: 2 ** 20,
      on: { arrived: () => undefined, othersCame: () => undefined },
    });
    const began = performance.now();
    const told = Array.from({ length: 20_000 }, (_, n) => {
      const entry = {
        key: "k",
        bytes: new Uint8Array(8),
        setAt: n + 1,
        userId: "ada",
        broughtBy: "ada",
        keepMs: 60_000,
        heldMs: 0,
      };
      return exchange.store(roomOf("many"), [entry]);
    });
    expect(performance.now() - began).toBeLessThan(2_000);
    await Promise.all(told);
    expect(await keys("many")).toEqual(["k 20000"]);
    await exchange.close();
  });

  it("keeps a key for its user until it has not been set for a while, or has expired", async () => {
    await put("c", "k", "ada", 10);
    await put("c", "k", "eve", 20);
    await put("c", "k", null, 20);
    expect(await keys("c")).toEqual(["k 10"]);
    await put("c", "k", "ada", 30);
    expect(await keys("c")).toEqual(["k 30"]);
    await t.db.query("update perch.presence set held_until = clock_timestamp() - interval '1 second'");
    await put("c", "k", "eve", 40);
    expect(await keys("c")).toEqual(["k 40"]);
    await t.db.query("update perch.presence set expires_at = clock_timestamp() - interval '1 second'");
    await put("c", "k", "ada", 5);
    expect(await keys("c")).toEqual(["k 5"]);
  });
});
