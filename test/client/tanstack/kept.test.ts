import { createCollection } from "@tanstack/db";
import { expect, it } from "vitest";
import { type DeviceStorage, memoryStorage, type PerchClient } from "../../../src/client/index.js";
import { keepRows, perchCollectionOptions, perchOutbox, recordSpec } from "../../../src/client/tanstack/index.js";
import { ownLocks } from "../../../src/client/tanstack/queues.js";
import { cleanup, until } from "../../gateway/support.js";
import { as, badNetwork, testServer } from "../support.js";
import { everyFrame, row, type Task } from "./support.js";

const spec = recordSpec<Task>({ appId: "todo", table: "tasks", spaceId: "~ada" });
const kept = "rows/perch/todo/tasks/~ada";

/** The tasks of ada's, kept in a storage; cleaned up after the test. */
function keptTasks(client: PerchClient, storage: DeviceStorage, version?: string) {
  const options = perchCollectionOptions<Task>(client, { appId: "todo", table: "tasks", spaceId: "~ada" });
  const collection = createCollection(
    keepRows(options, { storage, saveMs: 10, ...(version !== undefined && { version }) }),
  );
  cleanup(() => collection.cleanup());
  return collection;
}

const idsOf = (tasks: { keys(): Iterable<string> }) => [...tasks.keys()].sort();

it("rows show after a reload without a network, in every frame until the server is there, and are then what it has", async () => {
  const server = await testServer();
  const network = await badNetwork(server);
  const storage = memoryStorage();
  const phone = as("ada", server);
  const put = (op: "insert" | "update" | "delete", id: string, title = id) =>
    phone.push({ appId: "todo", changes: [{ op, table: "tasks", id, ...(op !== "delete" && { data: { title } }) }] });
  for (const id of ["a", "b", "c"]) await put("insert", id);
  const before = keptTasks(as("ada", network), storage);
  await before.preload();
  await until(async () => (await storage.get(kept))?.includes('"c"'));
  await before.cleanup();

  network.hold();
  const offline = keptTasks(as("ada", network), storage);
  await offline.preload();
  expect(idsOf(offline)).toEqual(["a", "b", "c"]);
  expect(offline.get("a")).toMatchObject({ id: "a", title: "a" });
  // Of another version of the app they are not shown.
  const newer = keptTasks(as("ada", network), storage, "2");
  newer.startSyncImmediate();
  await put("delete", "a");
  await put("update", "b", "other");
  await put("insert", "d");
  expect(idsOf(newer)).toEqual([]);

  const frames = everyFrame(() => idsOf(offline).join());
  network.release();
  await until(() => offline.has("d"));
  expect(frames().seen).toEqual(["a,b,c", "b,c,d"]);
  expect(offline.get("b")).toMatchObject({ title: "other" });
  await until(async () => (await storage.get(kept))?.includes('"d"') && !(await storage.get(kept))?.includes('"a"'));
});

it("whatever is kept when the device dies is one moment of the collection", async () => {
  const server = await testServer();
  const values = new Map<string, string>();
  const inner = memoryStorage(values);
  const moments: Map<string, string>[] = [];
  const storage: DeviceStorage = {
    ...inner,
    async set(key, value) {
      moments.push(new Map(values));
      await inner.set(key, value);
      moments.push(new Map(values));
    },
  };
  const phone = as("ada", server);
  const tasks = keptTasks(as("ada", server), storage);
  await tasks.preload();
  for (let n = 0; n < 10; n++) {
    const changes = ["a", "b"].map((id) => ({ op: "insert" as const, table: "tasks", id, data: { title: `${n}` } }));
    await phone.push({ appId: "todo", changes, atomic: true });
    await until(() => tasks.get("b")?.title === `${n}`);
  }
  await until(async () => (await storage.get(kept))?.includes('"9"'));
  expect(moments.length).toBeGreaterThan(4);
  for (const moment of moments) {
    const nowhere = as("ada", { url: "http://127.0.0.1:9" });
    const again = keptTasks(nowhere, memoryStorage(moment));
    again.startSyncImmediate();
    if (moment.has(kept)) await again.preload();
    expect([again.get("a")?.title, again.size % 2]).toEqual([again.get("b")?.title, 0]);
    await again.cleanup();
  }
});

it("signing out takes the rows off the device, those that are being written, too", async () => {
  const server = await testServer();
  const inner = memoryStorage();
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  let isWriting = false;
  let isWritten = false;
  const storage: DeviceStorage = {
    ...inner,
    async set(key, value) {
      isWriting ||= key === kept;
      if (key === kept) await held;
      await inner.set(key, value);
      isWritten ||= key === kept;
    },
  };
  const client = as("ada", server);
  const tasks = keptTasks(client, storage);
  const outbox = await perchOutbox(client, {
    user: "ada",
    collections: { tasks: { collection: tasks, spec } },
    storage,
    locks: ownLocks(),
  });
  await tasks.preload();
  await outbox.mutate(() => tasks.insert(row("a"))).transaction.isPersisted.promise;
  await until(() => isWriting);
  const out = outbox.signOut();
  setTimeout(release, 50);
  await out;
  await until(() => isWritten);
  expect(await storage.keys()).toEqual([]);
});

it("signing out takes the rows off the device also where the outbox was closed before", async () => {
  const server = await testServer();
  const storage = memoryStorage();
  const tasks = keptTasks(as("ada", server), storage);
  const collections = { tasks: { collection: tasks, spec } };
  const outbox = await perchOutbox(as("ada", server), { user: "ada", collections, storage, locks: ownLocks() });
  // What another device has kept, this one would have by then.
  const elsewhere = memoryStorage();
  await Promise.all([tasks.preload(), keptTasks(as("ada", server), elsewhere).preload()]);
  await outbox.close();
  await outbox.signOut();
  const insert = { op: "insert" as const, table: "tasks", id: "late", data: { title: "late" } };
  await as("ada", server).push({ appId: "todo", changes: [insert] });
  await until(async () => {
    const kept = await Promise.all((await elsewhere.keys()).map((key) => elsewhere.get(key)));
    return kept.some((text) => text?.includes("late"));
  });
  expect([await storage.keys(), tasks.size]).toEqual([[], 0]);
});
