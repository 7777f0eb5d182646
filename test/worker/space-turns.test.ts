import { beforeAll, describe, expect, it } from "vitest";
import { createKeyedMutex } from "../../src/lib/keyed-mutex.js";
import { connect, declare, eventually, freshId, keyOf } from "../documents/live/support.js";
import { postgres, type TestDatabase } from "../support/databases.js";
import { patchDocument, record, startWorkerNode } from "./support.js";

describe("turns", () => {
  it("come one after another for one name, beside those of others, and after one that fails", async () => {
    const mutex = createKeyedMutex();
    const events: string[] = [];
    const releases = new Map<string, (error?: Error) => void>();
    const begin = (name: string, work: string) =>
      mutex.run(name, async () => {
        events.push(work);
        await new Promise<void>((resolve, reject) => {
          releases.set(work, (error) => (error ? reject(error) : resolve()));
        });
        return work;
      });
    const [one, two, three, other] = [begin("a", "one"), begin("a", "two"), begin("a", "three"), begin("b", "other")];
    const settled = Promise.allSettled([one, two, three, other]);
    await eventually(() => events.length === 2);
    expect(events).toEqual(["one", "other"]);
    releases.get("one")?.(new Error("its own"));
    await eventually(() => events.length === 3);
    releases.get("two")?.();
    await eventually(() => events.length === 4);
    for (const work of ["three", "other"]) releases.get(work)?.();
    expect(events).toEqual(["one", "other", "two", "three"]);
    expect(
      (await settled).map((result) => (result.status === "rejected" ? result.reason.message : result.value)),
    ).toEqual(["its own", "two", "three", "other"]);
  });
});

const open = postgres(18);

describe("records of many documents of a space", () => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await declare(t);
  });

  it("are written one at a time, while those of other spaces are not held up", async () => {
    // Those that wait for their turn have each a place, too.
    const node = await startWorkerNode(t, { settings: { concurrency: 8 } });
    const mine = await Promise.all([1, 2, 3].map(() => connect(node, keyOf(freshId()))));
    const other = await connect(node, keyOf(freshId(), "~ben"), { userId: "ben" });
    const later = await connect(node, keyOf(freshId(), "~cleo"), { userId: "cleo" });
    void node.db.hold(/project_document/, "before");
    const begun = () => node.db.held().map(([spaceId]) => spaceId);
    await Promise.all([...mine, other].map((client) => client.type("x")));
    await eventually(() => begun().length >= 2);
    await later.type("x");
    await eventually(() => begun().includes("~cleo"));
    // One of each space, though all of mine were due before the last: the others wait here, with nothing locked.
    expect(begun().sort()).toEqual(["~ada", "~ben", "~cleo"]);
    node.db.go();
    for (const { document } of [...mine, other, later]) {
      await eventually(async () => (await record(t.db, document.key))?.body === "x");
    }
    expect(node.warnings).toEqual([]);
  });

  it("are written beside appends and patches of the same documents, without a deadlock", async () => {
    const node = await startWorkerNode(t, { settings: { projectionMs: 5 } });
    const keys = Array.from({ length: 12 }, () => keyOf(freshId()));
    const clients = await Promise.all(keys.map((key) => connect(node, key)));
    const before = await deadlocks();
    let patched = false;
    const typing = clients.map(async (client) => {
      while (!patched) await client.type("x");
    });
    const patching = Array.from({ length: 2 }, async (_, writer) => {
      for (let round = 0; round < 60; round++) {
        const key = keys[(round * 5 + writer) % keys.length] ?? keyOf("none");
        await t.asUser("ada", (tx) => patchDocument(tx, key, { title: String(round) }));
      }
    });
    await Promise.all(patching).finally(() => {
      patched = true;
    });
    await Promise.all(typing);
    for (const [index, key] of keys.entries()) {
      const client = clients[index];
      await eventually(async () => (await record(t.db, key))?.body === client?.text());
    }
    expect(await deadlocks()).toBe(before);
    expect(node.warnings).toEqual([]);
  });

  async function deadlocks(): Promise<number> {
    const [row] = await t.db.query<{ deadlocks: number }>(
      "select deadlocks from pg_stat_database where datname = current_database()",
    );
    return row?.deadlocks ?? 0;
  }
});
