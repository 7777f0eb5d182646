import { createCollection, createTransaction } from "@tanstack/db";
import { expect, it, vi } from "vitest";
import { type DeviceStorage, memoryStorage, type PerchClient } from "../../../src/client/index.js";
import { echoOf } from "../../../src/client/tanstack/echoes.js";
import { type OutboxOptions, perchOutbox, recordSpec } from "../../../src/client/tanstack/index.js";
import { ownLocks } from "../../../src/client/tanstack/queues.js";
import { cleanup, until } from "../../gateway/support.js";
import { pause } from "../../support/until.js";
import { as, testServer } from "../support.js";
import { row, type Task, tasksOf } from "./support.js";

const nowhere = () => as("ada", { url: "http://127.0.0.1:1" });
async function page(client: PerchClient, storage: DeviceStorage, more: Partial<OutboxOptions> = {}) {
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
    add: (id: string, m: object = {}) => outbox.mutate(() => tasks.insert({ ...row(id), ...m })),
    retitle: (id: string, title: string) =>
      outbox.mutate(() =>
        tasks.update(id, (d) => {
          d.title = title;
        }),
      ),
  };
}
const isPush = (input: unknown) => String(input).endsWith("/v1/push");
function at<R>(ms: number, work: () => R): R {
  vi.useFakeTimers({ toFake: ["Date"], now: ms });
  try {
    return work();
  } finally {
    vi.useRealTimers();
  }
}
/** Answers pushes as applied, without a server. */
const taking =
  (pushed: { id: string; at?: string }[]): typeof fetch =>
  async (input, init) => {
    if (!isPush(input))
      return new Promise<never>((_, reject) =>
        init?.signal?.addEventListener("abort", () => reject(new Error("aborted"))),
      );
    const { changes } = JSON.parse(String(init?.body));
    pushed.push(...changes);
    return Response.json({
      results: changes.map(({ op_id }: { op_id: string }) => ({ op_id, status: "applied", space_id: "~ada", seq: 1 })),
    });
  };
const fake = (f: typeof fetch) => as("ada", { url: "http://perch.test" }, { fetch: f });

it("keeps and pushes a call that shows nothing", async () => {
  const pushed: { id: string }[] = [];
  const { outbox } = await page(fake(taking(pushed)), memoryStorage());
  const { stored } = outbox.mutate(() => undefined, { call: { appId: "todo", name: "archive_all" } });
  await stored;
  await pause(500);
  expect(pushed).toHaveLength(1);
});

it("shows what others write while something waits", async () => {
  const server = await testServer();
  const client = as("ada", server, {
    fetch: async (i, o) => {
      if (isPush(i)) throw new TypeError("Failed to fetch");
      return fetch(i, o);
    },
  });
  const { tasks, add } = await page(client, memoryStorage());
  await tasks.preload();
  await add("a").stored;
  await as("ada", server, { clientId: "other" }).push({
    appId: "todo",
    changes: [{ op: "insert", table: "tasks", id: "b", data: { title: "b" } }],
  });
  await until(() => tasks.has("b"), "another's row shows");
});

it("gives a queue back that it was taking over when it was closed", async () => {
  const values = new Map<string, string>();
  const inner = memoryStorage(values);
  const locks = ownLocks();
  const left = await page(nowhere(), inner, { locks });
  let slow = false;
  const storage = {
    ...inner,
    get: async (k: string) => {
      if (slow) await pause(300);
      return inner.get(k);
    },
  };
  const mine = await page(nowhere(), storage, { locks });
  await left.add("a").stored;
  await left.outbox.close();
  slow = true;
  mine.outbox.tryNow();
  await pause(100);
  await mine.outbox.close();
  await pause(600);
  const pushed: { id: string }[] = [];
  const next = await page(fake(taking(pushed)), inner, { locks });
  next.outbox.tryNow();
  await until(() => pushed.some(({ id }) => id === "a"), "what waits is sent by the next");
});

it("opens in no tab from which its user signs out meanwhile, and leaves nothing there", async () => {
  const values = new Map<string, string>();
  const inner = memoryStorage(values);
  const locks = ownLocks();
  const one = await page(nowhere(), inner, { locks });
  let n = 0;
  const storage = {
    ...inner,
    keys: async () => {
      const k = await inner.keys();
      if (n++ === 1) await pause(1_000);
      return k;
    },
  };
  const opening = page(nowhere(), storage, { locks });
  await pause(200);
  await one.outbox.signOut();
  await expect(opening).rejects.toThrow("closed");
  expect([...values.keys()]).toEqual([]);
});

it("goes on where onSetAside throws", async () => {
  const pushed: { id: string }[] = [];
  const f: typeof fetch = async (i, o) => {
    if (isPush(i) && String(o?.body).includes('"bad"'))
      return Response.json(
        { error: { code: "PE422", word: "invalid", message: "invalid: no", detail: null } },
        { status: 422 },
      );
    return taking(pushed)(i, o);
  };
  const { outbox, add } = await page(fake(f), memoryStorage(), {
    onSetAside: () => {
      throw new Error("a toast that broke");
    },
  });
  add("bad").transaction.isPersisted.promise.catch(() => undefined);
  add("good");
  outbox.tryNow();
  await until(() => pushed.some(({ id }) => id === "good"), "the next is pushed");
});

it("loses nothing where onWaiting throws", async () => {
  const pushed: { id: string }[] = [];
  let fails = 1;
  const f: typeof fetch = async (i, o) => {
    if (isPush(i) && fails-- > 0) throw new TypeError("Failed to fetch");
    return taking(pushed)(i, o);
  };
  const values = new Map<string, string>();
  const { add } = await page(fake(f), memoryStorage(values), {
    onWaiting: () => {
      throw new Error("POST /telemetry 403");
    },
  });
  const { stored, transaction } = add("a");
  transaction.isPersisted.promise.catch(() => undefined);
  await stored;
  await until(() => fails <= 0);
  await pause(300);
  expect(values.size + pushed.length).toBeGreaterThan(0);
});

it("goes on where a removal hangs", async () => {
  const pushed: { id: string }[] = [];
  const inner = memoryStorage(new Map());
  let hangs = 1;
  const storage = {
    ...inner,
    delete: (k: string) => (hangs-- > 0 ? new Promise<void>(() => undefined) : inner.delete(k)),
  };
  const { add, outbox } = await page(fake(taking(pushed)), storage);
  await add("a").stored;
  await until(() => pushed.length === 1);
  await add("b").stored;
  outbox.tryNow();
  await until(() => pushed.length === 2, "the next is pushed");
});

it("goes on where one write hangs", async () => {
  const pushed: { id: string }[] = [];
  const inner = memoryStorage(new Map());
  let hangs = 1;
  const storage = {
    ...inner,
    set: (k: string, v: string) => (hangs-- > 0 ? new Promise<void>(() => undefined) : inner.set(k, v)),
  };
  const { add, outbox } = await page(fake(taking(pushed)), storage);
  add("a");
  await add("b").stored;
  outbox.tryNow();
  await until(() => pushed.some(({ id }) => id === "b"), "what is stored is pushed");
});

it("sends after a reload rows whose key is made of a time", async () => {
  const pushed: { id: string }[] = [];
  const told: unknown[] = [];
  const storage = memoryStorage(new Map());
  type R = { sensor: string; at: Date; v: number };
  const col = (client: PerchClient) => {
    const c = createCollection<R, string>({
      id: "m",
      getKey: (r: R) => `${r.sensor}/${r.at.toISOString()}`,
      sync: { sync: ({ markReady }) => markReady() },
    });
    return { client, c };
  };
  const open = ({ client, c }: ReturnType<typeof col>) =>
    perchOutbox(client, {
      user: "ada",
      storage,
      locks: ownLocks(),
      onWaiting: (e) => told.push(e),
      collections: { m: { collection: c as never, spec: { appId: "x", table: "m", key: ["sensor", "at"] as never } } },
    });
  const one = col(nowhere());
  const first = await open(one);
  await first.mutate(() => one.c.insert({ sensor: "s", at: new Date(0), v: 1 })).stored;
  await first.close();
  const second = await open(col(fake(taking(pushed))));
  cleanup(() => second.close());
  await until(() => pushed.length === 1, `it is sent; told: ${told.map(String)}`);
});

it("does not send what was discarded", async () => {
  const values = new Map<string, string>();
  const storage = memoryStorage(values);
  const first = await page(nowhere(), storage);
  await first.add("before").stored;
  await first.add("refused").stored;
  await first.outbox.close();
  // The page was gone between the two steps.
  const key = [...values].find(([, text]) => text.includes('"refused"'))?.[0] ?? "";
  const id = key.replace(/^.*tx:/, "");
  values.set(
    `outbox/ada/aside/${id}`,
    JSON.stringify({
      id,
      changes: [],
      error: { code: "PE422", message: "no", detail: null },
      at: new Date().toISOString(),
    }),
  );
  const pushed: { id: string }[] = [];
  let offline = true;
  const second = await page(
    fake(async (i, o) => {
      if (offline) throw new TypeError("Failed to fetch");
      return taking(pushed)(i, o);
    }),
    storage,
  );
  await second.outbox.discard(id);
  offline = false;
  second.outbox.tryNow();
  await until(() => second.outbox.pending() === 0);
  expect(pushed.map((c) => c.id)).toEqual(["before"]);
});

it("says of a damaged entry that it is damaged", async () => {
  const told: unknown[] = [];
  const values = new Map([[`outbox/ada/q/${"0".repeat(32)}/tx:1`, "{"]]);
  await page(nowhere(), memoryStorage(values), { onWaiting: (e) => told.push(e) });
  expect(told.map(String).join()).not.toContain("collections that this outbox was not given");
});

it("opens beside one entry that it cannot read", async () => {
  const values = new Map<string, string>();
  const first = await page(nowhere(), memoryStorage(values));
  await first.add("a").stored;
  await first.add("b").stored;
  await first.outbox.close();
  const [key = ""] = values.keys();
  const entry = JSON.parse(values.get(key) ?? "");
  entry.metadata.push = entry.metadata.push.slice(0, 10);
  values.set(key, JSON.stringify(entry));
  const pushed: { id: string }[] = [];
  await page(fake(taking(pushed)), memoryStorage(values));
  await until(() => pushed.length === 1);
});

it("sends nothing of which its writer was told that it is not kept, also when closed meanwhile", async () => {
  const values = new Map<string, string>();
  const inner = memoryStorage(values);
  const storage = {
    ...inner,
    set: async (k: string, v: string) => {
      await inner.set(k, v);
      await pause(300);
      throw new Error("quota exceeded");
    },
  };
  const { add, outbox } = await page(nowhere(), storage);
  const { stored } = add("a");
  await pause(50);
  await Promise.all([expect(stored).rejects.toThrow("quota"), outbox.close()]);
  await pause(300);
  expect([...values.keys()]).toEqual([]);
});

it("tells nobody that something waits because it was closed", async () => {
  const told: unknown[] = [];
  const hung = await page(
    fake((_i, o) => new Promise((_, r) => o?.signal?.addEventListener("abort", () => r(o.signal?.reason)))),
    memoryStorage(),
    { onWaiting: (e) => told.push(e) },
  );
  await hung.add("a").stored;
  await pause(100);
  await hung.outbox.close();
  await pause(100);
  expect(told).toEqual([]);
});

it("shows the later of two edits, whatever the clock says", async () => {
  const { tasks, add, retitle } = await page(nowhere(), memoryStorage());
  (await tasks.stateWhenReady) && undefined;
  const now = Date.now();
  add("a");
  at(now - 3_600_000, () => retitle("a", "second"));
  expect(tasks.get("a")?.title).toBe("second");
});

it("keeps what is shown late below what was written later in the same millisecond", async () => {
  vi.useFakeTimers();
  cleanup(() => void vi.useRealTimers());
  const collection = createCollection({
    getKey: ({ id }: { id: string; t: string }) => id,
    sync: { sync: ({ markReady }: { markReady: () => void }) => markReady() },
    utils: { seen: () => new Promise<boolean>(() => undefined) },
  });
  await collection.preload();
  const write = (pushMs: number, work: () => void) => {
    const tx = createTransaction({
      mutationFn: async ({ transaction }) => {
        await new Promise((r) => setTimeout(r, pushMs));
        await echoOf(
          transaction.mutations as never,
          [{ op_id: "1", status: "applied", space_id: "~ada", seq: 1 }],
          transaction as never,
        );
      },
    });
    tx.mutate(work);
  };
  write(1, () => collection.insert({ id: "a", t: "first" }));
  write(5_000, () =>
    collection.update("a", (d) => {
      d.t = "second";
    }),
  );
  const seen = new Set<unknown>();
  for (let n = 0; n < 40; n++) {
    await vi.advanceTimersByTimeAsync(1_000);
    seen.add(collection.get("a")?.t);
  }
  expect([...seen]).toEqual(["second"]);
});

it("lets no rejection go unhandled where onWaiting throws", async () => {
  const unhandled: unknown[] = [];
  const on = (e: unknown) => unhandled.push(e);
  const before = process.listeners("unhandledRejection");
  process.removeAllListeners("unhandledRejection");
  process.on("unhandledRejection", on);
  cleanup(() => {
    process.off("unhandledRejection", on);
    for (const l of before) process.on("unhandledRejection", l);
  });
  const inner = memoryStorage(new Map());
  let fails = false;
  const storage = {
    ...inner,
    keys: async () => {
      if (fails) throw new Error("disk");
      return inner.keys();
    },
  };
  const { outbox } = await page(fake(taking([])), storage, {
    onWaiting: () => {
      throw new Error("a callback that broke");
    },
  });
  fails = true;
  outbox.tryNow();
  await pause(200);
  expect(unhandled).toEqual([]);
});

it("settles what waited when its user signs out", async () => {
  const { add, outbox } = await page(nowhere(), memoryStorage(new Map()));
  const { transaction, stored } = add("a");
  await stored;
  await outbox.signOut();
  expect(
    await Promise.race([
      transaction.isPersisted.promise.then(
        () => "done",
        () => "failed",
      ),
      pause(2_000).then(() => "waits"),
    ]),
  ).toBe("failed");
});

it("says of what is being kept when it is closed that it is not", async () => {
  const storage = { ...memoryStorage(new Map()), set: () => new Promise<void>(() => undefined) };
  const { add, outbox } = await page(nowhere(), storage);
  const { stored } = add("a");
  await pause(10);
  await outbox.close();
  expect(
    await Promise.race([
      stored.then(
        () => "done",
        () => "failed",
      ),
      pause(2_000).then(() => "waits"),
    ]),
  ).toBe("failed");
});

it("does not open beside an entry that could not be read, which later ones would overtake", async () => {
  const values = new Map<string, string>();
  const inner = memoryStorage(values);
  const first = await page(nowhere(), inner);
  await first.add("older").stored;
  await first.outbox.close();
  let fails = 1;
  const pushed: { id: string }[] = [];
  let second = await page(fake(taking(pushed)), {
    ...inner,
    get: async (k) => (fails-- > 0 ? null : inner.get(k)),
  }).catch(() => undefined);
  expect(second).toBeUndefined();
  second = await page(fake(taking(pushed)), inner);
  await second.add("newer").stored;
  await until(() => pushed.length > 0);
  second.outbox.tryNow();
  await pause(1_000);
  expect(pushed.map(({ id }) => id)).toEqual(["older", "newer"]);
});

it("says what else was refused where one of it is damaged", async () => {
  const values = new Map<string, string>([
    ["outbox/ada/aside/1", "{"],
    [
      "outbox/ada/aside/2",
      JSON.stringify({ id: "2", changes: [], error: { code: "PE422", message: "no", detail: null }, at: "2026" }),
    ],
  ]);
  const { outbox } = await page(nowhere(), memoryStorage(values));
  const list = await outbox.setAside().catch((e) => String(e));
  expect(list).toHaveLength(1);
});

it("leaves alone what another user's outbox keeps in the same storage", async () => {
  const values = new Map<string, string>();
  const ada = await page(nowhere(), memoryStorage(values));
  await ada.add("adas").stored;
  await ada.outbox.close();
  const bodies: string[] = [];
  await page(
    as(
      "bob",
      { url: "http://perch.test" },
      {
        fetch: async (i, o) => {
          if (String(i).endsWith("/v1/push")) bodies.push(String(o?.body));
          throw new TypeError("x");
        },
      },
    ),
    memoryStorage(values),
    { user: "bob" },
  );
  await pause(300);
  expect(bodies.filter((b) => b.includes("adas"))).toEqual([]);
});

it("what waits of a collection that is not given is not overtaken by what is written meanwhile", async () => {
  const values = new Map<string, string>();
  const pushed: { id: string }[] = [];
  const open = async (client: PerchClient, names: string[]) => {
    const tasks = tasksOf(client);
    const more = tasksOf(client, undefined);
    const all = {
      tasks: { collection: tasks, spec: recordSpec<Task>({ appId: "todo", table: "tasks", spaceId: "~ada" }) },
      more: { collection: more, spec: recordSpec<Task>({ appId: "todo", table: "tasks" }) },
    };
    const outbox = await perchOutbox(client, {
      user: "ada",
      storage: memoryStorage(values),
      locks: ownLocks(),
      collections: Object.fromEntries(Object.entries(all).filter(([k]) => names.includes(k))),
    });
    cleanup(() => outbox.close());
    return { tasks, more, outbox };
  };
  const first = await open(nowhere(), ["tasks", "more"]);
  await first.outbox.mutate(() => first.tasks.insert(row("0"))).stored;
  await first.outbox.mutate(() => {
    first.tasks.insert(row("1"));
    first.more.insert(row("m1"));
  }).stored;
  await first.outbox.close();
  // The first is of a collection that is there; it goes.
  const second = await open(nowhere(), ["tasks"]);
  await second.outbox.mutate(() => second.tasks.insert(row("2"))).stored;
  await second.outbox.mutate(() => second.tasks.insert(row("3"))).stored;
  await second.outbox.close();
  await open(fake(taking(pushed)), ["tasks", "more"]);
  await until(() => values.size === 0);
  expect(pushed.map(({ id }) => id)).toEqual(["0", "1", "m1", "2", "3"]);
});
