import { Command } from "@langchain/langgraph";
import { type BaseCheckpointSaver, MemorySaver } from "@langchain/langgraph-checkpoint";
import { beforeAll, expect, it } from "vitest";
import { z } from "zod";
import { CheckpointStore } from "../../src/checkpoints/index.js";
import { PerchSaver } from "../../src/langgraph/index.js";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";
import { agent, comparable, incremental, nested } from "./langgraph/graph.js";
import { asTenant, freshTenant } from "./support.js";

const thread = { configurable: { thread_id: "run" } };

describeEachEngine("pruning", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
  });
  const parts = () => {
    const options = { db: t.db, tenantId: freshTenant() };
    return {
      ...options,
      store: new CheckpointStore({ ...options, schema: z.unknown() }),
      saver: new PerchSaver(options),
    };
  };
  const count = async (tenantId: string, table: string) =>
    (await asTenant(t, tenantId, (tx) => tx.query(`select 1 from perch.${table}`))).length;
  /** Makes all that a tenant has a day older. */
  const age = (tenantId: string) =>
    t.db.query("update perch.stored_checkpoints set created_at = created_at - interval '1 day' where tenant_id = $1", [
      tenantId,
    ]);

  it("keeps the last of each thread, with states that are whole", async () => {
    const { store, tenantId } = parts();
    const long = Array.from({ length: 400 }, (_, n) => `line ${n} ${"x".repeat(100)}`);
    const states: unknown[] = [];
    for (const threadId of ["one", "two"]) {
      for (let step = 1; step <= 10; step++) {
        const state = { same: "s".repeat(2000), step, long: long.slice(0, 200 + step * 10) };
        states[step] = state;
        await store.put(threadId, { state, step });
      }
    }
    expect(await store.prune({ threadId: "one", keepLast: 3 })).toBe(7);
    const kept: unknown[] = [];
    for await (const { state } of store.history("one")) kept.push(state);
    expect(kept).toEqual([states[10], states[9], states[8]]);
    const before = await count(tenantId, "checkpoint_values");
    expect(await store.prune({ keepLast: 1 })).toBe(2 + 9);
    expect(await store.prune({ keepLast: 1 })).toBe(0);
    expect((await store.latest("one"))?.state).toEqual(states[10]);
    expect((await store.latest("two"))?.state).toEqual(states[10]);
    // Of each thread three values, and no more pieces than these have.
    expect(await count(tenantId, "checkpoint_values")).toBe(6);
    expect(before).toBeGreaterThan(20);
    const [orphans] = await t.db.query<{ pieces: number }>(
      `select count(*) as pieces from perch.checkpoint_pieces p where p.tenant_id = $1 and not exists (
         select from perch.checkpoint_values v where v.tenant_id = $1 and v.thread_no = p.thread_no and p.hash = any (v.pieces))`,
      [tenantId],
    );
    expect(orphans).toEqual({ pieces: 0 });
  });

  it("keeps what is younger, and the head whatever its age", async () => {
    const { store, tenantId } = parts();
    await store.put("old", { state: 1, step: 1 });
    await store.put("old", { state: 2, step: 2 });
    await store.put("mixed", { state: 1, step: 1 });
    await age(tenantId);
    await store.put("mixed", { state: 2, step: 2 });
    await store.put("mixed", { state: 3, step: 3 });
    expect(await store.prune({ keepForMs: 3_600_000 })).toBe(2);
    expect((await store.latest("old"))?.state).toBe(2);
    expect(await store.prune({ keepLast: 1, keepForMs: 3_600_000 })).toBe(0);
    expect(await store.prune({ keepForMs: 0 })).toBe(1);
  });

  it("keeps the head also when that is an old one beside newer branches, and goes on counting", async () => {
    const { store } = parts();
    const root = await store.put("run", { state: "root", step: 1 });
    for (let n = 0; n < 5; n++) await store.put("run", { state: n, step: 2, parentId: root });
    await store.prune({ keepLast: 1 });
    const head = await store.latest("run");
    expect(head).toMatchObject({ state: 4, parentId: root });
    const next = await store.put("run", { state: "next", step: 3, parentId: head?.id });
    expect((await store.latest("run"))?.id).toBe(next);
    await expect(store.put("run", { state: "lost", step: 2, parentId: root })).rejects.toMatchObject({ code: "PE404" });
  });

  it("wants to be told what to keep, and never takes none for all or all for none", async () => {
    const { store } = parts();
    await store.put("run", { state: 1, step: 1 });
    for (const options of [{}, { keepLast: 0 }, { keepLast: -1 }, { keepForMs: -1 }, { keepLast: 0, keepForMs: 1 }]) {
      await expect(store.prune(options)).rejects.toMatchObject({ code: "PE422" });
    }
    expect((await store.latest("run"))?.state).toBe(1);
  });

  it("leaves a LangGraph run that it can go on with, and rewind to what is kept", async () => {
    const { store, saver } = parts();
    const graph = agent(saver);
    await graph.invoke({ topic: "bees" }, thread);
    const before = await comparable(graph.getStateHistory(thread));
    expect(await store.prune({ keepLast: 2 })).toBe(before.length - 2);
    const after = (await comparable(graph.getStateHistory(thread))) as {
      values: unknown;
      next: unknown;
      tasks: unknown;
    }[];
    const kept = before.slice(0, 2) as typeof after;
    expect(after.map(({ values, next, tasks }) => ({ values, next, tasks }))).toEqual(
      kept.map(({ values, next, tasks }) => ({ values, next, tasks })),
    );
    await graph.invoke(new Command({ resume: "yes" }), thread);
    expect((await graph.getState(thread)).values).toMatchObject({
      log: ["plan", "ask:yes", "write"],
      found: expect.any(Array),
    });
    for await (const past of graph.getStateHistory(thread)) {
      if (past.next.includes("ask")) await graph.invoke(null, await graph.updateState(past.config, { topic: "birds" }));
    }
    await graph.invoke(new Command({ resume: "no" }), thread);
    expect((await graph.getState(thread)).values).toMatchObject({ topic: "birds", log: ["plan", "ask:no", "drop"] });
  });

  it("keeps the ancestors from which an incremental channel is made, and no others", async () => {
    const { store, saver, tenantId } = parts();
    const graph = incremental(saver, 5);
    const invoke = (turns: number) => graph.invoke({ said: [`begin ${turns}`], turns }, thread);
    for (const turns of [6, 5, 4]) await invoke(turns);
    const { values } = await graph.getState(thread);
    const before = await count(tenantId, "stored_checkpoints");
    const pruned = await store.prune({ keepLast: 1 });
    expect((await graph.getState(thread)).values).toEqual(values);
    // Up to the last whole value, which is at most five updates above.
    expect(pruned).toBeGreaterThan(5);
    expect(before - pruned).toBeGreaterThan(1);
    expect(before - pruned).toBeLessThan(9);
    const { said } = (await invoke(2)) as { said: string[] };
    expect(said).toHaveLength((values as { said: string[] }).said.length + 3);
    // A state that was changed from outside right after a whole value needs its parent just as well.
    await graph.updateState(thread, { said: ["by hand"] }, "speak");
    const changed = (await graph.getState(thread)).values;
    await store.prune({ keepLast: 1 });
    expect((await graph.getState(thread)).values).toEqual(changed);
  });

  it("keeps of subgraphs what a kept checkpoint resumes, and drops the rest, also their namespaces", async () => {
    const { store, saver, tenantId } = parts();
    const story = async (checkpointer: BaseCheckpointSaver, prune: () => Promise<unknown>) => {
      const graph = nested(checkpointer);
      for (const answer of ["one", "two", "three"]) {
        await graph.invoke({ log: ["input"] }, thread);
        if (answer !== "three") await graph.invoke(new Command({ resume: answer }), thread);
      }
      await prune();
      const { tasks } = await graph.getState(thread, { subgraphs: true });
      const inner = tasks.map(({ name, state }) => [name, (state as { values?: unknown } | undefined)?.values]);
      await graph.invoke(new Command({ resume: "three" }), thread);
      return [inner, (await graph.getState(thread)).values];
    };
    const pruned = await story(saver, async () => {
      const namespaces = await count(tenantId, "threads");
      await store.prune({ keepLast: 1 });
      // Those of the two runs that ended are gone; the thread, the subgraph that waits and the one that remembers are left.
      expect(await count(tenantId, "threads")).toBe(3);
      expect(namespaces).toBeGreaterThan(3);
    });
    expect(pruned).toEqual(await story(new MemorySaver(), async () => undefined));
    expect(JSON.stringify(pruned)).toContain('"remembered 3"');
  });
});
