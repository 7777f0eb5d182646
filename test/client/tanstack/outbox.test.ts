import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { memoryStorage, type PerchClient } from "../../../src/client/index.js";
import {
  type Outbox,
  type OutboxOptions,
  perchCollectionOptions,
  perchOutbox,
  recordSpec,
  type SetAside,
} from "../../../src/client/tanstack/index.js";
import { type Locks, ownLocks } from "../../../src/client/tanstack/queues.js";
import { cleanup, until } from "../../gateway/support.js";
import { as, badNetwork, testServer } from "../support.js";
import { everyFrame, row, streamsThrough, type Task, type Tasks, tasksOf } from "./support.js";

interface Device {
  readonly values: Map<string, string>;
  readonly locks: Locks;
}

const device = (): Device => ({ values: new Map(), locks: ownLocks() });

/** A tab of ada's: its own collection and client, the device's storage and locks. Closed after the test. */
async function tab(client: PerchClient, { values, locks }: Device, options: Partial<OutboxOptions> = {}) {
  const tasks = tasksOf(client);
  const outbox = await perchOutbox(client, {
    user: "ada",
    collections: {
      tasks: { collection: tasks, spec: recordSpec<Task>({ appId: "todo", table: "tasks", spaceId: "~ada" }) },
    },
    storage: memoryStorage(values),
    locks,
    ...options,
  });
  cleanup(() => outbox.close());
  return { tasks, outbox };
}

const add = (tasks: Tasks, outbox: Outbox, id: string, title = id) => outbox.mutate(() => tasks.insert(row(id, title)));
const retitle = (tasks: Tasks, outbox: Outbox, id: string, title: string) =>
  outbox.mutate(() =>
    tasks.update(id, (draft) => {
      draft.title = title;
    }),
  );
const logOf = async (server: { db: { query<T>(sql: string): Promise<T[]> } }) =>
  (await server.db.query<{ id: string }>("select record_id as id from perch.sync_changes order by seq")).map(
    ({ id }) => id,
  );

it("shows at once, keeps, and pushes in order, each transaction as a whole", async () => {
  const server = await testServer();
  const { values, locks } = device();
  const { tasks, outbox } = await tab(as("ada", server), { values, locks });
  await tasks.preload();
  const two = outbox.mutate(() => {
    tasks.insert(row("a"));
    tasks.insert(row("b"));
  });
  expect(tasks.has("a")).toBe(true);
  await two.stored;
  await retitle(tasks, outbox, "a", "A").transaction.isPersisted.promise;
  await two.transaction.isPersisted.promise;
  expect(await logOf(server)).toEqual(["a", "b", "a"]);
  const txids = await server.db.query<{ n: number }>("select count(distinct txid)::int as n from perch.sync_changes");
  expect(txids).toEqual([{ n: 2 }]);
  expect(tasks.get("a")).toMatchObject({ title: "A" });
  await until(() => values.size === 0);
});

it("does not wait for one echo before it pushes the next, and shows each until its own", async () => {
  const server = await testServer();
  const streams = await badNetwork(server);
  const { tasks, outbox } = await tab(as("ada", server, { fetch: streamsThrough(streams.url) }), device());
  await tasks.preload();
  streams.hold("answers");
  const written = ["a", "b", "c"].map((id) => add(tasks, outbox, id));
  const edited = retitle(tasks, outbox, "a", "later");
  const frames = everyFrame(() => [tasks.get("a")?.title, tasks.has("b"), tasks.has("c")].join());
  await until(async () => (await logOf(server)).length === 4);
  await until(() => outbox.pending() === 0);
  streams.release();
  await Promise.all([...written, edited].map(({ transaction }) => transaction.isPersisted.promise));
  expect(frames().seen).toEqual(["later,true,true"]);
});

it("keeps what was written offline over a reload, shows it again, and sends it before what comes after", async () => {
  const server = await testServer();
  const network = await badNetwork(server);
  const machine = device();
  const first = await tab(as("ada", network), machine);
  await first.tasks.preload();
  network.hold();
  await add(first.tasks, first.outbox, "a").stored;
  await retitle(first.tasks, first.outbox, "a", "edited").stored;
  await first.outbox.close();
  // Another page, still offline.
  const second = await tab(as("ada", network), machine);
  await until(() => second.tasks.get("a")?.title === "edited");
  await retitle(second.tasks, second.outbox, "a", "again").stored;
  const frames = everyFrame(() => second.tasks.get("a")?.title);
  network.cut();
  network.release();
  second.outbox.tryNow();
  await until(() => second.outbox.pending() === 0);
  await until(async () => (await logOf(server)).length === 3);
  await second.tasks.preload();
  await until(() => second.tasks.get("a")?.title === "again");
  expect(frames().seen).toEqual(["again"]);
  const titles = await server.db.query("select op, data ->> 'title' as title from perch.sync_changes order by seq");
  expect(titles).toEqual([
    { op: "insert", title: "a" },
    { op: "update", title: "edited" },
    { op: "update", title: "again" },
  ]);
});

it("keeps the order of what was written in one millisecond, and by a clock that went back", async () => {
  const server = await testServer();
  const machine = device();
  const nowhere = as("ada", { url: "http://127.0.0.1:1" });
  const first = await tab(nowhere, machine);
  const ids = Array.from({ length: 20 }, (_, n) => `t${n}`);
  await Promise.all(ids.map((id) => add(first.tasks, first.outbox, id).stored));
  await first.outbox.close();
  for (const [key, text] of machine.values) {
    const entry = JSON.parse(text);
    machine.values.set(
      key,
      JSON.stringify({ ...entry, createdAt: new Date(2e12 - entry.metadata.order).toISOString() }),
    );
  }
  const second = await tab(as("ada", server), machine);
  await until(() => second.outbox.pending() === 0);
  expect(await logOf(server)).toEqual(ids);
});

it("takes aside what the server refuses, keeps it until the app has shown it, and goes on with the rest", async () => {
  const server = await testServer();
  const machine = device();
  const told: SetAside[] = [];
  const { tasks, outbox } = await tab(as("ada", server), machine, { onSetAside: (entry) => told.push(entry) });
  await tasks.preload();
  await server.db.query("select perch.set_limit(name => 'max_change_bytes', value => 2000)");
  const bad = add(tasks, outbox, "bad", "x".repeat(3_000));
  const good = add(tasks, outbox, "good");
  await good.transaction.isPersisted.promise;
  await expect(bad.transaction.isPersisted.promise).rejects.toThrow("too_large");
  expect([...tasks.keys()]).toEqual(["good"]);
  expect(told).toMatchObject([{ error: { code: "PE413" }, changes: [{ id: "bad", op: "insert" }] }]);
  await outbox.close();
  const again = await tab(as("ada", server), machine);
  expect(await again.outbox.setAside()).toEqual(told);
  await again.outbox.discard(told[0]?.id ?? "");
  expect(machine.values.size).toBe(0);
});

it("takes nothing aside for the way it came, by a wrong address or with a token that is over", async () => {
  const server = await testServer();
  const machine = device();
  let answers: number[] = [];
  const counting: typeof fetch = async (input, init) => {
    const answer = await fetch(input, init);
    if (String(input).endsWith("/v1/push")) answers.push(answer.status);
    return answer;
  };
  for (const [user, url, status] of [
    ["ada", `${server.url}/elsewhere`, 404],
    ["", server.url, 401],
  ] as const) {
    answers = [];
    const { tasks, outbox } = await tab(as(user, { url }, { fetch: counting }), machine);
    await add(tasks, outbox, `by ${status}`).stored;
    await until(() => answers.includes(status));
    await outbox.close();
    expect(await outbox.setAside()).toEqual([]);
  }
  const { outbox } = await tab(as("ada", server), machine);
  await until(() => outbox.pending() === 0);
  expect(await logOf(server)).toEqual(["by 404", "by 401"]);
  expect(await outbox.setAside()).toEqual([]);
});

it("calls a function of the app instead, once, however often it is sent", async () => {
  const server = await testServer();
  await server.db.query("create role rules nologin");
  await server.db.query("grant perch_app to rules");
  await server.db.query(
    `create function public.twice(args jsonb) returns jsonb language sql security definer set search_path = pg_catalog, pg_temp
      as $$ select perch.push(app_id => 'todo', client_id => null, changes => jsonb_build_array(
        jsonb_build_object('op', 'insert', 'table', 'tasks', 'id', args ->> 'id', 'data', jsonb_build_object('title', (args ->> 'title') || (args ->> 'title'))))) $$`,
  );
  await server.db.query("alter function public.twice owner to rules");
  await server.db.query(
    "select perch.register_mutator(app_id => 'todo', name => 'twice', function => 'public.twice(jsonb)')",
  );
  const network = await badNetwork(server);
  const { tasks, outbox } = await tab(as("ada", network), device());
  await tasks.preload();
  network.hold("answers");
  const called = outbox.mutate(() => tasks.insert(row("t", "guess")), {
    call: { appId: "todo", name: "twice", args: { id: "t", title: "ab" } },
  });
  await until(async () => (await logOf(server)).length === 1);
  network.cut();
  network.release();
  outbox.tryNow();
  await called.transaction.isPersisted.promise;
  await until(() => tasks.get("t")?.title === "abab");
  expect(await logOf(server)).toEqual(["t"]);
});

it("is not made where there are two copies of @tanstack/db, as npm installs them", async () => {
  const root = new URL("../../../", import.meta.url);
  const nested = `node_modules/@tanstack/offline-transactions/node_modules/@tanstack/db/dist/esm/index.js`;
  const { createCollection }: typeof import("@tanstack/db") = await import(new URL(nested, root).pathname);
  const nobody = as("ada", { url: "http://127.0.0.1:1" });
  const collection = createCollection(perchCollectionOptions<Task>(nobody, { appId: "todo", table: "tasks" }));
  const spec = recordSpec<Task>({ appId: "todo", table: "tasks" });
  await expect(tab(nobody, device(), { collections: { tasks: { collection, spec } } })).rejects.toThrow(
    "several copies",
  );
  // Without a bundler the library has its own.
  const script = `import { perchOutbox } from "./dist/client/tanstack/index.js";
    await perchOutbox({}, { user: "ada", collections: {} }).catch(({ message }) => console.log(message));`;
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], { cwd: root });
  expect(stdout).toContain("several copies");
});

it("refuses to write to a collection that it was not given", async () => {
  const { tasks, outbox } = await tab(as("ada", { url: "http://127.0.0.1:1" }), device(), { collections: {} });
  expect(() => add(tasks, outbox, "a")).toThrow("that it was given");
  expect(tasks.has("a")).toBe(false);
});

it("says that what was written to a collection of another name waits, and sends it when that is back", async () => {
  const server = await testServer();
  const machine = device();
  const first = await tab(as("ada", { url: "http://127.0.0.1:1" }), machine);
  await add(first.tasks, first.outbox, "a").stored;
  await first.outbox.close();
  const told: unknown[] = [];
  const second = await tab(as("ada", server), machine, { collections: {}, onWaiting: (error) => told.push(error) });
  expect(told).toMatchObject([{ message: expect.stringContaining("1 transactions") }]);
  await second.outbox.close();
  const third = await tab(as("ada", server), machine);
  await until(() => machine.values.size === 0);
  expect([await logOf(server), third.outbox.pending()]).toEqual([["a"], 0]);
});

it("keeps what every tab writes, has one sender for each queue, and sends what a tab that is gone left", async () => {
  const server = await testServer();
  const network = await badNetwork(server);
  const machine = device();
  const [one, two] = [await tab(as("ada", network), machine), await tab(as("ada", network), machine)];
  await Promise.all([one.tasks.preload(), two.tasks.preload()]);
  network.hold();
  await add(one.tasks, one.outbox, "a").stored;
  await add(two.tasks, two.outbox, "b").stored;
  await two.outbox.close();
  await two.tasks.cleanup();
  one.outbox.tryNow();
  await until(() => one.tasks.has("b"));
  network.cut();
  network.release();
  one.outbox.tryNow();
  await until(() => machine.values.size === 0);
  expect((await logOf(server)).sort()).toEqual(["a", "b"]);
});

it("leaves nothing of a user who signs out, in any tab, and sends nothing of theirs as the next", async () => {
  const server = await testServer();
  const machine = device();
  const nowhere = as("ada", { url: "http://127.0.0.1:1" });
  const [one, two] = [await tab(nowhere, machine), await tab(nowhere, machine)];
  await add(one.tasks, one.outbox, "a").stored;
  await add(two.tasks, two.outbox, "b").stored;
  await one.outbox.signOut();
  expect(machine.values.size).toBe(0);
  expect([one.tasks.size, two.tasks.size]).toEqual([0, 0]);
  expect(() => add(two.tasks, two.outbox, "c")).toThrow("closed");
  const bob = await tab(as("bob", server), machine, { user: "bob" });
  bob.outbox.tryNow();
  expect(bob.outbox.pending()).toBe(0);
  expect(await logOf(server)).toEqual([]);
});

it("tells an outbox that is closed, too, that its user signs out, but none of whoever came next", async () => {
  const server = await testServer();
  const machine = device();
  const [one, two, three] = [
    await tab(as("ada", server), machine),
    await tab(as("ada", server), machine),
    await tab(as("ada", server), machine),
  ];
  for (const { tasks } of [one, two, three]) await tasks.preload();
  await two.outbox.close();
  await three.outbox.close();
  const next = await perchOutbox(as("bob", server), {
    user: "bob",
    collections: { tasks: { collection: three.tasks, spec: recordSpec<Task>({ appId: "todo", table: "tasks" }) } },
    storage: memoryStorage(),
    locks: ownLocks(),
  });
  cleanup(() => next.close());
  await one.outbox.signOut();
  // Its rows would be kept on the device for ever.
  await until(() => two.tasks.status === "cleaned-up");
  expect(three.tasks.status).toBe("ready");
});

it("gives its queues back where storage fails while it is opened, and opens when that is over", async () => {
  const server = await testServer();
  const machine = device();
  const [left, other] = [
    await tab(as("ada", { url: "http://127.0.0.1:1" }), machine),
    await tab(as("ada", { url: "http://127.0.0.1:1" }), machine),
  ];
  await add(left.tasks, left.outbox, "a").stored;
  await add(other.tasks, other.outbox, "b").stored;
  await left.outbox.close();
  await other.outbox.close();
  const inner = memoryStorage(machine.values);
  for (let works = 0; works < 12; works++) {
    let reads = 0;
    const read = <T>(work: () => Promise<T>) => {
      if (reads++ >= works) throw new Error("the disk does not answer");
      return work();
    };
    const storage = {
      ...inner,
      get: async (key: string) => read(() => inner.get(key)),
      keys: async () => read(() => inner.keys()),
    };
    const opened = await tab(as("ada", { url: "http://127.0.0.1:1" }), machine, { storage }).catch(() => undefined);
    // What waits in its own queue is there, or there is no outbox: what is written into it would overtake that.
    if (opened) expect(opened.outbox.pending()).toBeGreaterThan(0);
    await opened?.outbox.close();
  }
  const last = await tab(as("ada", server), machine);
  await until(() => machine.values.size === 0);
  expect([(await logOf(server)).sort(), last.outbox.pending()]).toEqual([["a", "b"], 0]);
});

it("does not send again what it has set aside, when the page was gone before it left the queue", async () => {
  const server = await testServer();
  const machine = device();
  const inner = memoryStorage(machine.values);
  // Nothing leaves the queue any more: the page is gone as soon as the refusal is kept.
  const storage = { ...inner, delete: () => new Promise<void>(() => undefined) };
  const refusing: typeof fetch = async (input, init) => {
    if (!String(input).includes("/v1/push")) return fetch(input, init);
    const error = { code: "PE422", word: "invalid", message: "invalid: not now", detail: null };
    return new Response(JSON.stringify({ error }), { status: 422, headers: { "content-type": "application/json" } });
  };
  const first = await tab(as("ada", server, { fetch: refusing }), machine, { storage });
  add(first.tasks, first.outbox, "a").transaction.isPersisted.promise.catch(() => undefined);
  await until(async () => (await first.outbox.setAside()).length === 1);
  await first.outbox.close();
  expect([...machine.values.keys()].filter((key) => key.includes("/q/")).length).toBe(1);
  // Meanwhile the server would take it.
  const told: SetAside[] = [];
  const second = await tab(as("ada", server), machine, { onSetAside: (entry) => told.push(entry) });
  await until(
    () => second.outbox.pending() === 0 && [...machine.values.keys()].every((key) => key.includes("/aside/")),
  );
  expect([await logOf(server), (await second.outbox.setAside()).length, told]).toEqual([[], 1, []]);
});

it("loses nothing and applies nothing twice, whichever step a crash comes after", async () => {
  const server = await testServer();
  /** Storage and network of one life of a page. After so many steps it is dead: nothing is done any more, and nothing answers. */
  const life = (values: Map<string, string>, steps: number) => {
    let left = steps;
    const never = new Promise<never>(() => undefined);
    const step = async <T>(work: () => Promise<T>): Promise<T> => {
      if (left-- <= 0) return never;
      const done = await work();
      // Done, and nobody is told.
      return left-- <= 0 ? never : done;
    };
    const inner = memoryStorage(values);
    const storage = {
      get: (key: string) => step(() => inner.get(key)),
      set: (key: string, value: string) => step(() => inner.set(key, value)),
      delete: (key: string) => step(() => inner.delete(key)),
      keys: () => inner.keys(),
      clear: () => inner.clear(),
    };
    const isPush = (input: unknown) => String(input).includes("/v1/push");
    const network: typeof fetch = (input, init) =>
      isPush(input) ? step(() => fetch(input, init)) : fetch(input, init);
    return { storage, network, isDead: () => left <= 0 };
  };
  let steps = 0;
  for (let survived = false; !survived; steps++) {
    const values = new Map<string, string>();
    const { storage, network, isDead } = life(values, steps);
    const client = as("ada", server, { fetch: network });
    const first = await tab(client, { values, locks: ownLocks() }, { storage });
    await first.tasks.preload();
    const stored = new Set<string>();
    const name = (what: string) => `${what}${steps}`;
    const writes = [
      add(first.tasks, first.outbox, name("a"), "first"),
      retitle(first.tasks, first.outbox, name("a"), "second"),
      first.outbox.mutate(() => {
        first.tasks.insert(row(name("b")));
        first.tasks.insert(row(name("c")));
      }),
    ];
    for (const [nth, each] of writes.entries())
      void each.stored.then(
        () => stored.add(String(nth)),
        () => undefined,
      );
    const isDone = () => stored.size === 3 && first.outbox.pending() === 0 && values.size === 0;
    await until(() => isDead() || isDone());
    survived = !isDead();
    // Its locks are gone with it.
    const second = await tab(as("ada", server), { values, locks: ownLocks() });
    await until(() => second.outbox.pending() === 0 && values.size === 0);
    const log = await server.db.query<{ id: string; op: string; n: number }>(
      "select record_id as id, op, count(*)::int as n from perch.sync_changes where record_id like $1 group by 1, 2 order by 1, 2 desc",
      [`_${steps}`],
    );
    expect(log.every(({ n }) => n === 1)).toBe(true);
    const has = (id: string, op: string) => log.some((each) => each.id === name(id) && each.op === op);
    if (stored.has("0")) expect(has("a", "insert")).toBe(true);
    if (stored.has("1")) expect(has("a", "update")).toBe(true);
    if (stored.has("2")) expect([has("b", "insert"), has("c", "insert")]).toEqual([true, true]);
    expect(has("b", "insert")).toBe(has("c", "insert"));
    await second.outbox.close();
    await Promise.all([first.tasks.cleanup(), second.tasks.cleanup()]);
    void first.outbox.close();
  }
  expect(steps).toBeGreaterThan(15);
});
