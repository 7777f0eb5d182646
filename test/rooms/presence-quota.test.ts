import { pino } from "pino";
import { beforeAll, expect, it } from "vitest";
import { createPresenceExchange } from "../../src/rooms/presence-exchange.js";
import { type PresenceAddress, putPresence, readPresence } from "../../src/rooms/presence-queries.js";
import { describeBothKinds, type TestDatabase } from "../support/databases.js";
import { pause } from "../support/until.js";

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

  const put = (
    recordId: string,
    key: string,
    userId: string | null,
    setAt: number,
    maxUserBytes = 2 ** 20,
    broughtBy = userId,
  ) =>
    t.asWorker((tx) => {
      const entry = {
        key,
        bytes: new Uint8Array(100).fill(setAt),
        setAt,
        userId,
        broughtBy,
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

  it("counts for whoever brought it, whosever key it is", async () => {
    for (const [n, room] of ["d", "e", "d", "e"].entries()) await put(room, `k${n}`, null, 1, 1_000, "carl");
    await put("d", "own", "carl", 1, 1_000, "carl");
    expect([await keys("d"), await keys("e")]).toEqual([["own 1"], ["k3 1"]]);
  });

  it("takes away more of what has expired than it brings", async () => {
    const items = (round: number) =>
      Array.from({ length: 1_500 }, (_, n) => ({
        room: roomOf(`x${round}`),
        entry: {
          key: `k${n}`,
          bytes: Buffer.from("x"),
          setAt: 1,
          userId: "ada",
          broughtBy: "ada",
          keepMs: 1,
          heldMs: 0,
        },
      }));
    const rows: number[] = [];
    for (let round = 0; round < 6; round++) {
      await putPresence(t.db, node, items(round), 2 ** 20);
      await pause(5);
      const [row] = await t.db.query<{ n: number }>(
        "select count(*)::int as n from perch.presence where record_id like 'x%'",
      );
      rows.push(row?.n ?? 0);
    }
    expect(Math.max(...rows)).toBeLessThanOrEqual(1_500);
  });

  it("is stored once for all who set a key meanwhile, however many they are", async () => {
    const exchange = createPresenceExchange({
      db: t.db,
      notifications: { add: () => () => undefined },
      log: pino({ level: "silent" }),
      intervalMs: 10,
      maxUserBytes: 2 ** 20,
      on: { arrived: () => undefined, othersCame: () => undefined, beat: () => undefined },
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
    const lapse = "update perch.presence set held_until = clock_timestamp() - interval '1 second'";
    await t.db.query(lapse);
    // The same again: its user is still there.
    await put("c", "k", "ada", 30);
    await put("c", "k", "eve", 40);
    expect(await keys("c")).toEqual(["k 30"]);
    await t.db.query(lapse);
    await put("c", "k", "eve", 40);
    expect(await keys("c")).toEqual(["k 40"]);
    await t.db.query("update perch.presence set expires_at = clock_timestamp() - interval '1 second'");
    await put("c", "k", "ada", 5);
    expect(await keys("c")).toEqual(["k 5"]);
  });
});
