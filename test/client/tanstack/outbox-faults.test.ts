import { createCollection, createTransaction } from "@tanstack/db";
import { expect, it, vi } from "vitest";
import {
  type DeviceStorage,
  ExactNumber,
  exactJson,
  memoryStorage,
  type PerchClient,
  type PushResult,
} from "../../../src/client/index.js";
import { echoOf } from "../../../src/client/tanstack/echoes.js";
import { perchOutbox, perchWrites, recordSpec } from "../../../src/client/tanstack/index.js";
import { ownLocks } from "../../../src/client/tanstack/queues.js";
import { cleanup, until } from "../../gateway/support.js";
import { pause } from "../../support/until.js";
import { as, badNetwork, testServer } from "../support.js";
import { row, type Task, tasksOf } from "./support.js";

const nowhere = () => as("ada", { url: "http://127.0.0.1:1" });

/** A page of ada's with these texts on its device. */
async function page(
  client: PerchClient,
  storage: DeviceStorage,
  more: { onWaiting?: (error: unknown) => void; user?: string } = {},
) {
  const tasks = tasksOf(client);
  const outbox = await perchOutbox(client, {
    user: "ada",
    collections: {
      tasks: { collection: tasks, spec: recordSpec<Task>({ appId: "todo", table: "tasks", spaceId: "~ada" }) },
    },
    storage,
    locks: ownLocks(),
    ...more,
  });
  cleanup(() => outbox.close());
  return {
    tasks,
    outbox,
    add: (id: string, more: object = {}) => outbox.mutate(() => tasks.insert({ ...row(id), ...more })),
    retitle: (id: string, title: string) =>
      outbox.mutate(() =>
        tasks.update(id, (draft) => {
          draft.title = title;
        }),
      ),
  };
}

const logOf = (server: { db: { query<T>(sql: string): Promise<T[]> } }) =>
  server.db.query<{ id: string; title: string }>(
    "select record_id as id, data ->> 'title' as title from perch.sync_changes order by seq",
  );

/** Does something while the clock says another time, and ends before anybody else looks at it. */
function at<T>(ms: number, work: () => T): T {
  vi.useFakeTimers({ toFake: ["Date"], now: ms });
  try {
    return work();
  } finally {
    vi.useRealTimers();
  }
}

it("keeps the order of what is written, whatever the clock says and however long each takes to be kept", async () => {
  const server = await testServer();
  const inner = memoryStorage(new Map());
  let sets = 0;
  const storage = {
    ...inner,
    async set(key: string, value: string) {
      sets += 1;
      await pause(sets === 1 ? 300 : 1);
      await inner.set(key, value);
    },
  };
  const { tasks, outbox, add, retitle } = await page(as("ada", server), storage);
  await tasks.preload();
  const kept: string[] = [];
  const now = Date.now();
  const written = [
    add("a"),
    at(now - 3_600_000, () => retitle("a", "second")),
    at(now - 7_200_000, () => retitle("a", "b third")),
  ];
  for (const [nth, each] of written.entries()) void each.stored.then(() => kept.push(String(nth)));
  await Promise.all(written.map(({ transaction }) => transaction.isPersisted.promise));
  expect(await logOf(server)).toMatchObject([{ title: "a" }, { title: "second" }, { title: "b third" }]);
  expect(tasks.get("a")?.title).toBe("b third");
  // Each is kept as soon as it can be.
  expect(kept).toEqual(["1", "2", "0"]);
  await until(() => outbox.pending() === 0);
});

it("goes on when the clock is set back while something waits", async () => {
  const server = await testServer();
  let fails = 1;
  const failing: typeof fetch = async (input, init) => {
    // No stream comes that would say that the network is back.
    if (!String(input).endsWith("/v1/push") || fails-- > 0) throw new TypeError("Failed to fetch");
    return fetch(input, init);
  };
  const { outbox, add } = await page(as("ada", server, { fetch: failing }), memoryStorage());
  add("a");
  await until(() => fails <= 0);
  await pause(100);
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() - 3_600_000 });
  cleanup(() => void vi.useRealTimers());
  await until(() => outbox.pending() === 0);
});

it("pushes on and takes nothing back where storage fails to note or to remove what was sent", async () => {
  const server = await testServer();
  const values = new Map<string, string>();
  const inner = memoryStorage(values);
  let failures = 3;
  const storage = {
    ...inner,
    set: async (key: string, value: string) => {
      if (values.has(key)) throw new Error("the disk is full");
      await inner.set(key, value);
    },
    delete: async (key: string) => {
      if (failures-- > 0) throw new Error("the disk is full");
      await inner.delete(key);
    },
  };
  let refuse = true;
  const failing: typeof fetch = async (input, init) => {
    if (refuse && String(input).endsWith("/v1/push")) {
      refuse = false;
      throw new TypeError("Failed to fetch");
    }
    return fetch(input, init);
  };
  const told: unknown[] = [];
  const { tasks, add } = await page(as("ada", server, { fetch: failing }), storage, {
    onWaiting: (error) => told.push(error),
  });
  await tasks.preload();
  const written = ["a", "b", "c"].map((id) => add(id));
  await Promise.all(written.map(({ transaction }) => transaction.isPersisted.promise));
  await until(() => values.size === 0);
  expect((await logOf(server)).map(({ id }) => id)).toEqual(["a", "b", "c"]);
  expect(told.map(String)).toContain("Error: the disk is full");
});

it("takes back what could not be kept, also when it was kept all the same, and goes on with the next", async () => {
  const server = await testServer();
  const values = new Map<string, string>();
  const inner = memoryStorage(values);
  let fails = true;
  const storage = {
    ...inner,
    set: async (key: string, value: string) => {
      await inner.set(key, value);
      if (fails) throw new Error("quota exceeded");
    },
  };
  const { tasks, add } = await page(as("ada", server), storage);
  await tasks.preload();
  const lost = add("lost");
  await expect(lost.stored).rejects.toThrow("quota exceeded");
  await expect(lost.transaction.isPersisted.promise).rejects.toThrow("quota exceeded");
  expect(tasks.has("lost")).toBe(false);
  await until(() => values.size === 0);
  fails = false;
  await add("kept").transaction.isPersisted.promise;
  expect((await logOf(server)).map(({ id }) => id)).toEqual(["kept"]);
});

it("pushes after a reload what it would have pushed before it, and shows the same", async () => {
  const server = await testServer();
  const values = new Map<string, string>();
  const storage = memoryStorage(values);
  const shown = {
    long: 9007199254740993n,
    when: new Date(0),
    exact: [new ExactNumber("12345678901234567890.5"), { deep: new Date(1) }],
  };
  const content = { ...shown, nothing: undefined };
  const first = await page(nowhere(), storage);
  await first.add("reloaded", content).stored;
  await first.outbox.close();
  const second = await page(as("ada", server, { json: exactJson }), storage);
  expect(second.tasks.get("reloaded")).toMatchObject(shown);
  await until(() => second.outbox.pending() === 0);
  await second.add("at once", content).transaction.isPersisted.promise;
  const rows = await server.db.query<{ data: string }>(
    "select (data - 'title')::text as data from perch.sync_changes order by seq",
  );
  expect(rows).toHaveLength(2);
  expect(rows[0]).toEqual(rows[1]);
  expect(rows[0]?.data).toContain('"nothing": null');
  expect(rows[0]?.data).toContain("12345678901234567890.5");
});

it("sends nothing with the token of somebody else, and goes on with that of its user", async () => {
  const server = await testServer();
  let user = "bob";
  const told: unknown[] = [];
  const client = as("ada", server, {
    token: () => user,
    fetch: (input, init) =>
      fetch(input, { ...init, headers: { ...(init?.headers as object), authorization: `Bearer ${user}` } }),
  });
  const { outbox, add } = await page(client, memoryStorage(), { onWaiting: (error) => told.push(error) });
  await add("a").stored;
  await until(() => told.length > 0);
  expect(told).toMatchObject([{ code: "PE403", detail: { reason: "another_user" } }]);
  expect([await logOf(server), await outbox.setAside(), outbox.pending()]).toEqual([[], [], 1]);
  user = "ada";
  outbox.tryNow();
  await until(() => outbox.pending() === 0);
  const spaces = await server.db.query("select space_id, user_id from perch.sync_changes");
  expect(spaces).toEqual([{ space_id: "~ada", user_id: "ada" }]);
});

it("comes again not sooner than the server says", async () => {
  const times: number[] = [];
  const error = { code: "PE429", word: "too_many_requests", message: "too_many_requests: wait", detail: null };
  const busy: typeof fetch = async (input) => {
    if (String(input).endsWith("/v1/push")) times.push(performance.now());
    return Response.json({ error }, { status: 429, headers: { "retry-after": "3" } });
  };
  const { outbox, add } = await page(as("ada", { url: "http://perch.test" }, { fetch: busy }), memoryStorage());
  add("a");
  await until(() => times.length === 1);
  for (let n = 0; n < 5; n++) {
    outbox.tryNow();
    await pause(100);
  }
  await until(() => times.length === 2);
  expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThanOrEqual(2_990);
});

it("leaves nothing of a user who signs out while something is being kept", async () => {
  let sets = 0;
  const values = new Map<string, string>();
  const inner = memoryStorage(values);
  const storage = {
    ...inner,
    async set(key: string, value: string) {
      sets += 1;
      await pause(300);
      await inner.set(key, value);
    },
  };
  const { outbox, add } = await page(nowhere(), storage);
  const { transaction } = add("secret");
  transaction.isPersisted.promise.catch(() => undefined);
  await until(() => sets > 0);
  const closed = outbox.close();
  await outbox.signOut();
  await closed;
  await pause(400);
  expect([...values]).toEqual([]);
});

it("takes back what is refused after a reload, and nothing that was written to the same record after it", async () => {
  const server = await testServer();
  const values = new Map<string, string>();
  const storage = memoryStorage(values);
  await as("ada", server).push({
    appId: "todo",
    changes: [{ op: "insert", table: "tasks", id: "a", data: { title: "there" } }],
  });
  const first = await page(as("ada", server), storage);
  await first.tasks.preload();
  await first.outbox.close();
  const network = await badNetwork(server);
  const offline = await page(as("ada", network), storage);
  await offline.tasks.preload();
  network.hold();
  await offline.retitle("a", "x".repeat(3_000)).stored;
  await offline.retitle("a", "later").stored;
  await offline.outbox.close();
  await server.db.query("select perch.set_limit(name => 'max_change_bytes', value => 2000)");
  network.cut();
  const sent: string[] = [];
  let release = () => undefined as unknown;
  const second = as("ada", server, {
    async fetch(input, init) {
      if (!String(input).endsWith("/v1/push")) return fetch(input, init);
      sent.push(String(init?.body));
      if (sent.length === 2) await new Promise((resolve) => (release = () => resolve(undefined)));
      return fetch(input, init);
    },
  });
  const again = await page(second, storage);
  await until(() => sent.length === 2);
  expect(again.tasks.get("a")?.title).toBe("later");
  release();
  await until(() => again.outbox.pending() === 0);
  await again.tasks.preload();
  expect(again.tasks.get("a")?.title).toBe("later");
  // Discarded by the app while its place in the queue could not be freed: it is not sent after all.
  const [refused] = await again.outbox.setAside();
  values.set(`outbox/ada/q/${"0".repeat(32)}/tx:${refused?.id}`, "as it was");
  await again.outbox.discard(refused?.id ?? "");
  expect([...values]).toEqual([]);
});

it("shows what was applied until it has come, however long a proxy holds the stream back", async () => {
  vi.useFakeTimers();
  cleanup(() => void vi.useRealTimers());
  let come = () => undefined as unknown;
  const seen = new Promise<boolean>((resolve) => {
    come = () => resolve(true);
  });
  const collection = createCollection({
    getKey: ({ id }: { id: string }) => id,
    sync: { sync: ({ markReady }: { markReady: () => void }) => markReady() },
    utils: { seen: () => seen },
  });
  await collection.preload();
  const result: PushResult = { op_id: "1", status: "applied", space_id: "~ada", seq: 1 };
  let isOver = false;
  const transaction = createTransaction({
    mutationFn: async ({ transaction: { mutations } }) => {
      await echoOf(mutations as never, [result], { createdAt: new Date() });
      isOver = true;
    },
  });
  transaction.mutate(() => collection.insert({ id: "a" }));
  await vi.advanceTimersByTimeAsync(29_000);
  expect([isOver, collection.has("a")]).toEqual([false, true]);
  await vi.advanceTimersByTimeAsync(2_000);
  expect([isOver, transaction.state, collection.has("a")]).toEqual([true, "completed", true]);
  come();
  await vi.advanceTimersByTimeAsync(1);
  expect(collection.has("a")).toBe(false);
});

it("waits for a typed row by what shapes call its transaction, and takes none back that its filter leaves out", async () => {
  const awaited: number[] = [];
  const result = { op_id: "1", status: "applied", space_id: "~ada", seq: null, txid: "4294967299" };
  const client = { push: async () => ({ results: [result] }) } as unknown as PerchClient;
  const writes = perchWrites(client, { appId: "todo", table: "todos" });
  const awaitTxId = async (txid: number) => {
    awaited.push(txid);
    throw new Error("it did not come");
  };
  const mutation = { type: "insert", modified: { id: "a" }, original: {}, changes: {}, mutationId: "1" };
  const inCollection = { ...mutation, collection: { utils: { awaitTxId } } };
  expect(await writes.onInsert({ transaction: { mutations: [inCollection] } })).toBeUndefined();
  expect(awaited).toEqual([3]);
  // Where the handler is given no collection, its caller waits.
  expect(await writes.onInsert({ transaction: { mutations: [mutation] } })).toMatchObject({ txid: [3] });
});
