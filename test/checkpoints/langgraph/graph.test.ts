import { Command } from "@langchain/langgraph";
import { type BaseCheckpointSaver, MemorySaver, type SerializerProtocol, uuid6 } from "@langchain/langgraph-checkpoint";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { z } from "zod";
import { CheckpointStore, threadLeases } from "../../../src/checkpoints/index.js";
import { openPostgres } from "../../../src/database/postgres.js";
import { PerchSaver } from "../../../src/langgraph/index.js";
import { describeEachEngine, postgres, type TestDatabase } from "../../support/databases.js";
import { asTenant, call, freshTenant, latest, type StoredCheckpoint } from "../support.js";
import { agent, comparable, incremental, nested } from "./graph.js";

type Durability = "exit" | "async" | "sync";
const thread = (thread_id = "run") => ({ configurable: { thread_id } });

/** Each plays a story on a saver. Out: what can be compared with the same story on another. */
const stories: Record<string, (saver: BaseCheckpointSaver, durability: Durability) => Promise<unknown[]>> = {
  async "asks, is approved, and goes on"(saver, durability) {
    const graph = agent(saver);
    const config = { ...thread(), durability };
    await graph.invoke({ topic: "bees" }, config);
    await graph.invoke(new Command({ resume: "yes" }), config);
    return comparable(graph.getStateHistory(thread()));
  },
  async "goes on with new input after its end"(saver, durability) {
    const graph = agent(saver);
    const config = { ...thread(), durability };
    for (const topic of ["bees", "wasps"]) {
      await graph.invoke({ topic }, config);
      await graph.invoke(new Command({ resume: "no" }), config);
    }
    return comparable(graph.getStateHistory(thread()));
  },
  async "is interrupted in a subgraph, and another remembers"(saver, durability) {
    const graph = nested(saver);
    const config = { ...thread(), durability };
    const seen: unknown[] = [];
    for (const answer of ["one", "two"]) {
      await graph.invoke({ log: ["input"] }, config);
      const { tasks } = await graph.getState(thread(), { subgraphs: true });
      seen.push(tasks.map(({ name, state }) => [name, (state as { values?: unknown } | undefined)?.values]));
      await graph.invoke(new Command({ resume: answer }), config);
    }
    return [seen, await comparable(graph.getStateHistory(thread()))];
  },
  async "keeps a channel as its changes"(saver, durability) {
    const seen: unknown[] = [];
    for (const frequency of [3, 1000]) {
      const graph = incremental(saver, frequency);
      const config = { ...thread(`run-${frequency}`), durability };
      for (const turns of [4, 3]) seen.push(await graph.invoke({ said: [`begin ${turns}`], turns }, config));
      seen.push((await graph.getState(thread(`run-${frequency}`))).values);
      seen.push(await comparable(graph.getStateHistory(thread(`run-${frequency}`))));
    }
    return seen;
  },
};
/** Those that need every step of the way. */
const travels: typeof stories = {
  async "is rewound, changed, and takes the other branch"(saver, durability) {
    const graph = agent(saver);
    const config = { ...thread(), durability };
    await graph.invoke({ topic: "bees" }, config);
    await graph.invoke(new Command({ resume: "yes" }), config);
    const seen: unknown[] = [];
    for (const [topic, answer] of [
      ["wasps", "no"],
      ["birds", "yes"],
    ]) {
      for await (const past of graph.getStateHistory(thread())) {
        if (!past.next.includes("ask")) continue;
        const branch = await graph.updateState(past.config, { topic });
        seen.push((await graph.invoke(null, { ...branch, durability } as never)).topic);
        break;
      }
      await graph.invoke(new Command({ resume: answer }), config);
      seen.push((await graph.getState(thread())).values);
    }
    return [seen, await comparable(graph.getStateHistory(thread()))];
  },
  async "is rewound in the middle of a subgraph"(saver, durability) {
    const graph = nested(saver);
    const config = { ...thread(), durability };
    await graph.invoke({ log: ["input"] }, config);
    await graph.invoke(new Command({ resume: "one" }), config);
    for await (const past of graph.getStateHistory(thread())) {
      if (past.next.includes("asking")) {
        await graph.invoke(null, { ...past.config, durability } as never);
        break;
      }
    }
    return [(await graph.getState(thread())).values, await comparable(graph.getStateHistory(thread()))];
  },
  async "is copied beside itself"(saver, durability) {
    const graph = agent(saver);
    await graph.invoke({ topic: "bees" }, { ...thread(), durability });
    const copy = await graph.updateState(thread(), null, "__copy__");
    const { values, next } = await graph.getState(copy);
    return [values, next, await comparable(graph.getStateHistory(thread()))];
  },
};

describeEachEngine("a LangGraph graph on perch", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
  });
  const fresh = (options: { tenantId?: string; serde?: SerializerProtocol } = {}) =>
    new PerchSaver({ db: t.db, tenantId: freshTenant(), ...options });

  const told: [string, Durability, (typeof stories)[string]][] = [
    ...Object.entries(stories).flatMap(([name, story]) =>
      (["sync", "async", "exit"] as const).map((durability): (typeof told)[number] => [name, durability, story]),
    ),
    ...Object.entries(travels).map(([name, story]): (typeof told)[number] => [name, "sync", story]),
  ];
  it.each(told)("%s (%s), as on LangGraph's saver in memory", async (_, durability, story) => {
    expect(await story(fresh(), durability)).toEqual(await story(new MemorySaver(), durability));
  });

  it("two tenants using the same thread id never meet", async () => {
    const [one, two] = [agent(fresh()), agent(fresh())];
    await one.invoke({ topic: "bees" }, thread());
    expect((await two.getState(thread())).values).toEqual({});
    await two.invoke({ topic: "wasps" }, thread());
    await one.invoke(new Command({ resume: "yes" }), thread());
    expect((await one.getState(thread())).values).toMatchObject({ topic: "bees", log: ["plan", "ask:yes", "write"] });
    expect((await two.getState(thread())).values).toMatchObject({ topic: "wasps", log: ["plan"] });
    await (one.checkpointer as PerchSaver).deleteThread("run");
    expect((await one.getState(thread())).values).toEqual({});
    expect((await two.getState(thread())).next).toEqual(["ask"]);
  });

  it("has the same latest as SQL and the stored tree, also after time travel and with a clock that lags", async () => {
    const tenantId = freshTenant();
    const saver = fresh({ tenantId });
    const graph = agent(saver);
    await graph.invoke({ topic: "bees" }, thread());
    const head = async () => (await asTenant(t, tenantId, (tx) => latest(tx, "run"))) as StoredCheckpoint;
    const ofGraph = async () => (await graph.getState(thread())).config.configurable?.checkpoint_id;
    expect((await head()).id).toBe(await ofGraph());
    const older = [];
    for await (const past of graph.getStateHistory(thread())) older.push(past);
    await graph.updateState(older.at(-1)?.config as never, { topic: "wasps" });
    expect((await head()).id).toBe(await ofGraph());
    expect((await head()).state).toMatchObject({ topic: "wasps" });
    // A process whose clock is behind makes an id that sorts before all others; what it puts is the latest all the same.
    const last = await saver.getTuple(thread());
    const id = "1b21dd21-3814-6000-8000-000000000000";
    const checkpoint = { ...(last?.checkpoint as NonNullable<typeof last>["checkpoint"]), id };
    await saver.put(last?.config as never, checkpoint, { source: "loop", step: 9, parents: {} }, {});
    expect((await head()).id).toBe(id);
    expect((await saver.getTuple(thread()))?.checkpoint.id).toBe(id);
    const first = await graph.getStateHistory(thread(), { limit: 1 }).next();
    expect(first.value?.config.configurable?.checkpoint_id).toBe(id);
  });

  it("is readable in SQL, and by nobody as a state of its own", async () => {
    const tenantId = freshTenant();
    await agent(fresh({ tenantId })).invoke({ topic: "bees" }, thread());
    const row = await asTenant(t, tenantId, (tx) => latest(tx, "run"));
    expect(row).toMatchObject({
      state: { topic: "bees", log: ["plan"] },
      schema_version: null,
      step: 2,
      metadata: { source: "loop" },
    });
    const store = new CheckpointStore({ db: t.db, tenantId, schema: z.unknown() });
    await expect(store.latest("run")).rejects.toMatchObject({ code: "PE422", detail: { schema_version: null } });
    await expect(store.put("run", { state: {}, step: 1 })).rejects.toMatchObject({
      code: "PE422",
      detail: { format: "channels" },
    });
    await store.put("plain", { state: {}, step: 1 });
    const plain = agent(fresh({ tenantId }));
    await expect(plain.invoke({ topic: "bees" }, thread("plain"))).rejects.toMatchObject({
      code: "PE422",
      detail: { format: "state" },
    });
  });

  it("keeps values that jsonb cannot hold, bytes, and those of another serializer", async () => {
    const tenantId = freshTenant();
    const saver = fresh({ tenantId });
    const values = {
      nul: "a\0b \u0000",
      half: "\ud800",
      bytes: Uint8Array.of(0, 255, 7),
      set: new Set([1]),
      none: undefined,
      long: "ü\0".repeat(20_000),
      list: Array.from({ length: 3000 }, (_, n) => ({ n, 'k"e\\y': "\0" })),
    };
    const channel_versions = Object.fromEntries(Object.keys(values).map((name) => [name, 1]));
    const checkpoint = {
      v: 4,
      id: "1f0c0000-0000-6000-8000-000000000001",
      ts: "",
      channel_values: values,
      channel_versions,
      versions_seen: {},
    };
    const metadata = { source: "loop", step: 1, parents: {}, tag: "a\0b \ud800" } as never;
    await saver.put(thread("odd"), checkpoint, metadata, channel_versions);
    const config = { configurable: { thread_id: "odd", checkpoint_id: checkpoint.id } };
    await saver.putWrites(config, Object.entries(values), "task");
    const found = await saver.getTuple(thread("odd"));
    expect(found?.checkpoint.channel_values).toEqual(values);
    expect(found?.pendingWrites?.map(([, channel, value]) => [channel, value])).toEqual(Object.entries(values));
    expect(found?.metadata).toMatchObject({ tag: "ab \ufffd" });
    const shown = (await asTenant(t, tenantId, (tx) => latest(tx, "odd")))?.state as Record<string, unknown>;
    expect(shown.bytes).toEqual({ type: "bytes", base64: "AP8H" });
    expect(shown.set).toMatchObject({ id: ["Set"] });
    expect(shown.nul).toBe(JSON.stringify(values.nul));

    // Encrypts, in a way: neither JSON nor text.
    const flip = (bytes: Uint8Array) => bytes.map((byte) => byte ^ 255);
    const { serde: plain } = new MemorySaver();
    const serde: SerializerProtocol = {
      async dumpsTyped(value: unknown) {
        const [type, bytes] = await plain.dumpsTyped(value);
        return [`${type}+flipped`, flip(bytes)];
      },
      loadsTyped: (type, data) => plain.loadsTyped(type.replace("+flipped", ""), flip(data as Uint8Array)),
    };
    const secret = freshTenant();
    const graph = agent(fresh({ tenantId: secret, serde }));
    await graph.invoke({ topic: "bees" }, thread());
    await graph.invoke(new Command({ resume: "yes" }), thread());
    expect((await graph.getState(thread())).values).toMatchObject({ topic: "bees", log: ["plan", "ask:yes", "write"] });
    const hidden = (await asTenant(t, secret, (tx) => latest(tx, "run")))?.state;
    expect(JSON.stringify(hidden)).not.toContain("bees");
  });

  it("gives writes back in the order of tasks, and keeps the first of a task's", async () => {
    const saver = fresh();
    const id = "1f0c0000-0000-6000-8000-000000000001";
    const config = { configurable: { thread_id: "run", checkpoint_ns: "", checkpoint_id: id } };
    const long = "x".repeat(3000);
    // Before the checkpoint they belong to, as may happen.
    await saver.putWrites(
      config,
      [
        ["a", 1],
        ["a", long],
      ],
      "task-b",
    );
    await saver.putWrites(
      config,
      [
        ["a", 9],
        ["a", `${long}!`],
      ],
      "task-b",
    );
    await saver.putWrites(config, [["a", 3]], "task-a");
    for (const message of ["first", `second ${long}`, "third"])
      await saver.putWrites(config, [["__error__", message]], "task-a");
    expect(await saver.getTuple(config)).toBeUndefined();
    const checkpoint = { v: 4, id, ts: "", channel_values: {}, channel_versions: {}, versions_seen: {} };
    await saver.put(thread(), checkpoint, { source: "input", step: -1, parents: {} }, {});
    expect((await saver.getTuple(config))?.pendingWrites).toEqual([
      ["task-a", "__error__", "third"],
      ["task-a", "a", 3],
      ["task-b", "a", 1],
      ["task-b", "a", long],
    ]);
  });

  it("does not take a parent that arrives after its child for the latest, nor one that is written again", async () => {
    const saver = fresh();
    const ids = [1, 2, 3].map((n) => `1f0c0000-0000-6000-8000-00000000000${n}`) as [string, string, string];
    const put = (id: string, parent: string | undefined, value: number) =>
      saver.put(
        { configurable: { thread_id: "run", checkpoint_ns: "", checkpoint_id: parent } },
        { v: 4, id, ts: "", channel_values: { a: value }, channel_versions: { a: value }, versions_seen: {} },
        { source: "loop", step: value, parents: {} },
        { a: value },
      );
    await put(ids[1], ids[0], 2);
    await put(ids[0], undefined, 1);
    expect((await saver.getTuple(thread()))?.checkpoint.id).toBe(ids[1]);
    await put(ids[2], ids[1], 3);
    await put(ids[1], ids[0], 7);
    expect((await saver.getTuple(thread()))?.checkpoint).toMatchObject({ id: ids[2], channel_values: { a: 3 } });
    const again = await saver.getTuple({ configurable: { thread_id: "run", checkpoint_id: ids[1] } });
    expect(again?.checkpoint.channel_values).toEqual({ a: 7 });
  });

  it("lists page after page, across threads, and nothing for a limit of none", async () => {
    const saver = fresh();
    const graph = agent(saver);
    for (const name of ["a%", "a_", "ab"]) {
      for (let turn = 0; turn < 6; turn++) {
        await graph.invoke({ topic: name }, thread(name));
        await graph.invoke(new Command({ resume: "no" }), thread(name));
      }
    }
    const ids = async (config: object, options?: object) => {
      const seen: string[] = [];
      for await (const { checkpoint } of saver.list(config, options)) seen.push(checkpoint.id);
      return seen;
    };
    const every = await ids({});
    expect(every.length).toBeGreaterThan(100);
    expect(every).toEqual([...every].sort().reverse());
    expect(new Set(every).size).toBe(every.length);
    const each = await Promise.all(["a%", "a_", "ab"].map((name) => ids(thread(name))));
    expect(each.flat().sort().reverse()).toEqual(every);
    expect(each[0]?.length).toBe(each[2]?.length);
    expect(await ids(thread("a%"), { limit: 3 })).toEqual(each[0]?.slice(0, 3));
    expect(await ids(thread("a%"), { limit: 0 })).toEqual([]);
    expect(await ids(thread("a%"), { before: { configurable: { checkpoint_id: each[0]?.[2] } } })).toEqual(
      each[0]?.slice(3),
    );
    expect(await ids(thread("a%"), { filter: { source: "input" } })).toHaveLength(6);
    await saver.deleteThread("a%");
    expect((await ids({})).length).toBe((each[1]?.length ?? 0) + (each[2]?.length ?? 0));
  });

  it("stops a run whose lease went to somebody else", async () => {
    const tenantId = freshTenant();
    const leases = threadLeases({ db: t.db, tenantId });
    const graph = agent(fresh({ tenantId }));
    const stale = await leases.acquire("run", { holder: "me" });
    const config = (token?: number) => ({
      configurable: { thread_id: "run", fencing_token: token },
      durability: "sync" as const,
    });
    await graph.invoke({ topic: "bees" }, config(stale?.token));
    const current = await leases.acquire("run", { holder: "me" });
    await expect(graph.invoke(new Command({ resume: "yes" }), config(stale?.token))).rejects.toMatchObject({
      code: "PE409",
    });
    expect((await graph.getState(thread())).next).toEqual(["ask"]);
    // Nor does one go on that knows of no lease, or delete the thread.
    await expect(graph.invoke(new Command({ resume: "yes" }), config())).rejects.toMatchObject({ code: "PE409" });
    await expect(fresh({ tenantId }).deleteThread("run")).rejects.toMatchObject({ code: "PE409" });
    await graph.invoke(new Command({ resume: "yes" }), config(current?.token));
    expect((await graph.getState(thread())).next).toEqual([]);
    // What is found with the token is gone on from with it.
    for await (const past of graph.getStateHistory(config(current?.token))) {
      if (past.next.includes("ask")) await graph.updateState(past.config, { topic: "wasps" });
    }
    expect((await graph.getState(thread())).values).toMatchObject({ topic: "wasps" });
    await fresh({ tenantId }).deleteThread("run", { fencingToken: current?.token });
    expect((await graph.getState(thread())).values).toEqual({});
  });

  it("refuses a thread id that is no text, or no text that stays itself in the database", async () => {
    const tenantId = freshTenant();
    const saver = new PerchSaver({ db: t.db, tenantId });
    const graph = agent(saver);
    for (const id of [{ user: "ann" }, ["run"], true, "x\ud83d", "a\0b"]) {
      const refused = { code: "PE422", detail: { argument: "configurable.thread_id" } };
      await expect(graph.invoke({ topic: "bees" }, thread(id as string))).rejects.toMatchObject(refused);
      await expect(saver.getTuple(thread(id as string))).rejects.toMatchObject(refused);
      await expect(saver.deleteThread(id as string)).rejects.toMatchObject({ code: "PE422" });
    }
    expect(await asTenant(t, tenantId, (tx) => tx.query("select thread_id from perch.threads"))).toEqual([]);
    // A number, as apps count their chats, is its digits.
    await graph.invoke({ topic: "bees" }, thread(7 as never));
    expect((await graph.getState(thread("7"))).values).toMatchObject({ topic: "bees" });
  });

  it("refuses a configuration without a thread, and finds nothing under an id that is none", async () => {
    const saver = fresh();
    const checkpoint = { v: 4, id: "no uuid", ts: "", channel_values: {}, channel_versions: {}, versions_seen: {} };
    const metadata = { source: "input", step: -1, parents: {} } as const;
    await expect(saver.put({}, checkpoint, metadata, {})).rejects.toMatchObject({
      code: "PE422",
      detail: { argument: "thread_id" },
    });
    await expect(saver.put(thread(), checkpoint, metadata, {})).rejects.toMatchObject({
      code: "PE422",
      detail: { argument: "checkpoint.id" },
    });
    expect(await saver.getTuple({ configurable: { thread_id: "run", checkpoint_id: "no uuid" } })).toBeUndefined();
    expect(JSON.stringify({ saver })).toBe('{"saver":"[PerchSaver]"}');
    const rows = await asTenant(t, saver.tenantId, (tx) => call(tx, "list_channels", {}));
    expect(rows).toEqual([]);
  });

  it("goes on from a checkpoint that it was told it has put, under the lease that it was put with", async () => {
    const tenantId = freshTenant();
    const lease = await threadLeases({ db: t.db, tenantId }).acquire("run", { holder: "me" });
    const graph = agent(fresh({ tenantId }));
    const config = { configurable: { thread_id: "run", fencing_token: lease?.token }, durability: "sync" as const };
    await graph.invoke({ topic: "bees" }, config);
    const changed = await graph.updateState(config, { topic: "wasps" });
    await graph.updateState(changed, { topic: "birds" });
    expect((await graph.getState(thread())).values).toMatchObject({ topic: "birds" });
  });
});

describe("a saver's thread whose checkpoints are each other's parents", () => {
  const open = postgres();

  it("has a history that ends", async () => {
    const t = await open();
    const db = openPostgres({ url: t.url as string, queryTimeoutMs: 5_000 });
    onTestFinished(() => db.close());
    const saver = new PerchSaver({ db, tenantId: freshTenant() });
    const ids = Array.from({ length: 7 }, () => uuid6(0));
    const put = async (id: string, parent: string | undefined) => {
      const config = { configurable: { thread_id: "run", checkpoint_ns: "", checkpoint_id: parent } };
      const checkpoint = { v: 4, id, ts: "", channel_values: {}, channel_versions: {}, versions_seen: {} };
      await saver.put(config, checkpoint, { source: "loop", step: 1, parents: {} }, {});
      const at = { configurable: { thread_id: "run", checkpoint_ns: "", checkpoint_id: id } };
      await saver.putWrites(at, [["said", "x"]], "task");
    };
    const ask = (id: string | undefined) =>
      saver.getDeltaChannelHistory({
        config: { configurable: { thread_id: "run", checkpoint_ns: "", checkpoint_id: id } },
        channels: ["said"],
      });
    await put(ids[0] as string, ids[0]);
    expect((await ask(ids[0])).said?.writes.length).toBeGreaterThan(0);
    for (const [nth, id] of ids.entries()) if (nth > 0) await put(id, ids[nth + 1] ?? ids[1]);
    expect((await ask(ids[1])).said?.writes.length).toBeLessThan(30);
  });
});
