import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { beforeAll, expect, it } from "vitest";
import { z } from "zod";
import { CheckpointStore, stateVersions } from "../../src/checkpoints/index.js";
import type { PerchError } from "../../src/errors.js";
import { withContext } from "../../src/identity/index.js";
import { push } from "../../src/log/index.js";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";
import { asTenant, freshTenant, latest, put } from "./support.js";

const schema = z.object({ count: z.number(), note: z.string().optional() });
type State = z.infer<typeof schema>;

describeEachEngine("a checkpoint store", (open, engine) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
  });
  const fresh = (tenantId = freshTenant()) => new CheckpointStore({ db: t.db, tenantId, schema });

  it("puts and reads back, typed", async () => {
    const store = fresh();
    expect(await store.latest("run")).toBeUndefined();
    const first = await store.put("run", { state: { count: 1 }, step: 1 });
    const second = await store.put("run", {
      state: { count: 2, note: "ü" },
      step: 2,
      parentId: first,
      nextNode: "ask",
      metadata: { by: "test" },
      expectedHead: first,
    });
    const found = await store.latest("run");
    expect(found).toEqual({
      id: second,
      threadId: "run",
      parentId: first,
      step: 2,
      state: { count: 2, note: "ü" },
      nextNode: "ask",
      schemaVersion: 1,
      metadata: { by: "test" },
      createdAt: expect.any(Date),
    });
    const count: number | undefined = found?.state.count;
    expect(count).toBe(2);
    expect((await store.get("run", first))?.state).toEqual({ count: 1 });
    expect(await store.get("run", randomUUID())).toBeUndefined();
    expect(await store.get("run", "no uuid")).toBeUndefined();
    expect(await store.get("other", first)).toBeUndefined();
  });

  it("demands the head it expects, or that there is none", async () => {
    const store = fresh();
    const first = await store.put("run", { state: { count: 1 }, step: 1, expectedHead: null });
    await expect(store.put("run", { state: { count: 2 }, step: 1, expectedHead: null })).rejects.toMatchObject({
      code: "PE409",
    });
    await store.put("run", { state: { count: 2 }, step: 2, parentId: first, expectedHead: first });
    await expect(store.put("run", { state: { count: 3 }, step: 2, expectedHead: first })).rejects.toMatchObject({
      code: "PE409",
    });
  });

  it("reads the history page by page, as it is asked for", async () => {
    const store = fresh();
    for (let count = 1; count <= 7; count++) await store.put("run", { state: { count }, step: count });
    const counts = async (options?: Parameters<typeof store.history>[1]) => {
      const seen: number[] = [];
      for await (const { state } of store.history("run", options)) seen.push(state.count);
      return seen;
    };
    expect(await counts()).toEqual([7, 6, 5, 4, 3, 2, 1]);
    expect(await counts({ pageSize: 2 })).toEqual([7, 6, 5, 4, 3, 2, 1]);
    expect(await counts({ pageSize: 2, limit: 3 })).toEqual([7, 6, 5]);
    const pages = store.history("run", { pageSize: 3 });
    const { value: newest } = await pages.next();
    expect(await counts({ before: newest?.id, limit: 1 })).toEqual([6]);
    // What is put meanwhile is left out, what is pruned meanwhile ends it.
    await store.put("run", { state: { count: 8 }, step: 8 });
    expect((await pages.next()).value?.state.count).toBe(6);
    await store.prune({ threadId: "run", keepLast: 1 });
    expect((await pages.next()).value?.state.count).toBe(5);
    expect(await pages.next()).toEqual({ done: true, value: undefined });
    const nowhere: unknown[] = [];
    for await (const found of store.history("nowhere")) nowhere.push(found);
    expect(nowhere).toEqual([]);
    for (const limit of [0, -1, 1.5]) await expect(counts({ limit })).rejects.toMatchObject({ code: "PE422" });
    await expect(counts({ before: randomUUID() })).rejects.toMatchObject({ code: "PE404" });
  });

  it("changes a state below any checkpoint, and forks", async () => {
    const store = fresh();
    const first = await store.put("run", { state: { count: 1 }, step: 1, nextNode: "ask" });
    const head = await store.put("run", { state: { count: 2 }, step: 2, parentId: first });
    const changed = await store.updateState("run", first, ({ count }) => ({ count: count + 10 }), {
      metadata: { by: "me" },
    });
    expect(await store.latest("run")).toMatchObject({
      id: changed,
      parentId: first,
      step: 2,
      nextNode: "ask",
      state: { count: 11 },
    });
    await store.updateState("run", head, { count: 20 });
    expect((await store.latest("run"))?.state).toEqual({ count: 20 });
    const fork = await store.fork("run", first);
    expect(await store.latest("run")).toMatchObject({ id: fork, parentId: first, step: 1, state: { count: 1 } });
    await store.fork("run", first, { intoThread: "copy", metadata: { why: "try" } });
    expect(await store.latest("copy")).toMatchObject({ parentId: null, state: { count: 1 }, metadata: { why: "try" } });
    const unknown = randomUUID();
    await expect(store.updateState("run", unknown, { count: 1 })).rejects.toMatchObject({ code: "PE404" });
    await expect(store.updateState("run", unknown, (state) => state)).rejects.toMatchObject({ code: "PE404" });
    await expect(store.fork("run", unknown)).rejects.toMatchObject({ code: "PE404" });
    expect(await store.deleteThread("run")).toBe(5);
    expect(await store.latest("run")).toBeUndefined();
  });

  it("commits with what else was written in the caller's transaction, or not at all", async () => {
    const tenantId = freshTenant();
    const store = fresh(tenantId);
    const work = (fails: boolean) =>
      withContext(t.db, { userId: "ada", tenantId }, async (tx) => {
        await push(tx, { appId: "todo", changes: [{ op: "insert", table: "tasks", id: "t1", data: { done: true } }] });
        const inside = store.in(tx);
        await inside.put("run", { state: { count: 1 }, step: 1 });
        expect((await inside.latest("run"))?.state).toEqual({ count: 1 });
        if (fails) throw new Error("changed my mind");
      });
    await expect(work(true)).rejects.toThrow("changed my mind");
    expect(await store.latest("run")).toBeUndefined();
    const records = () => t.asUser("ada", (tx) => tx.query("select record_id from perch.records"));
    const before = await records();
    await work(false);
    expect((await store.latest("run"))?.state).toEqual({ count: 1 });
    expect(await records()).toHaveLength(before.length + 1);
    await t.asUser("ada", (tx) => push(tx, { appId: "todo", changes: [{ op: "delete", table: "tasks", id: "t1" }] }));
  });

  it("works in no transaction of another tenant, and names its own where none is named", async () => {
    const store = fresh();
    const foreign = withContext(t.db, { tenantId: freshTenant() }, (tx) =>
      store.in(tx).put("run", { state: { count: 1 }, step: 1 }),
    );
    await expect(foreign).rejects.toMatchObject({ code: "PE403" });
    await t.db.transaction((tx) => store.in(tx).put("run", { state: { count: 1 }, step: 1 }));
    expect((await store.latest("run"))?.state).toEqual({ count: 1 });
    expect(() => new CheckpointStore({ db: t.db, tenantId: "", schema })).toThrow(/unauthenticated/);
  });

  it("refuses states that are not as the schema says, or that cannot be stored", async () => {
    const store = fresh();
    const refused = (state: unknown) =>
      expect(store.put("run", { state: state as State, step: 1 })).rejects.toMatchObject({ code: "PE422" });
    await refused({ count: "1" });
    await refused({});
    await refused({ count: 1, note: "a\0b" });
    await refused({ count: 1, note: "half \ud800" });
    await refused(undefined);
    await store.put("run", { state: { count: 1, note: "whole 😀 \\u0000" }, step: 1 });
    expect((await store.latest("run"))?.state.note).toBe("whole 😀 \\u0000");
    await expect(store.put("run", { state: { count: 1 }, step: 1, parentId: "no uuid" })).rejects.toMatchObject({
      code: "PE422",
      detail: { argument: "parentId" },
    });
    await expect(store.prune({})).rejects.toMatchObject({ code: "PE422" });
  });

  it("refuses a state that would not come back as it is, and says where it is", async () => {
    const tenantId = freshTenant();
    class Money {
      constructor(readonly amount: number) {}
    }
    const day = z.codec(z.iso.date(), z.date(), {
      decode: (text) => new Date(text),
      encode: (at) => at.toISOString().slice(0, 10),
    });
    const cyclic: Record<string, unknown> = {};
    cyclic.self = cyclic;
    const refusals: [z.ZodType, unknown, (string | number)[]][] = [
      [z.object({ at: z.date() }), { at: new Date() }, ["at"]],
      [z.object({ m: z.map(z.string(), z.number()) }), { m: new Map([["a", 1]]) }, ["m"]],
      [z.object({ s: z.set(z.string()) }), { s: new Set(["a"]) }, ["s"]],
      [z.object({ b: z.instanceof(Uint8Array) }), { b: new Uint8Array([1, 2]) }, ["b"]],
      [z.object({ l: z.array(z.number().optional()) }), { l: [1, undefined] }, ["l", 1]],
      [z.object({ n: z.nan() }), { n: Number.NaN }, ["n"]],
      [z.unknown(), { deep: [{ n: Number.POSITIVE_INFINITY }] }, ["deep", 0, "n"]],
      [z.unknown(), { at: new Date() }, ["at"]],
      [z.unknown(), { money: new Money(3) }, ["money"]],
      [z.unknown(), { big: 1n }, ["big"]],
      [z.unknown(), { call: () => 1 }, ["call"]],
      [z.unknown(), { text: "half \ud800" }, ["text"]],
      [z.unknown(), { a: { "nul\0": 1 } }, ["a"]],
      [z.unknown(), cyclic, []],
      [z.object({ a: z.union([z.undefined(), z.number()]) }), { a: undefined }, ["a"]],
      [z.object({ day }), { day: new Date("2026-01-01T10:00:00Z") }, ["day"]],
      [z.object({ a: z.number() }), { a: 1, unknown: 2 }, ["unknown"]],
      [
        z.object({ list: z.array(z.object({ t: z.string().transform(Number) })) }),
        { list: [{ t: 1 }] },
        ["list", 0, "t"],
      ],
    ];
    for (const [schema, state, path] of refusals) {
      const store = new CheckpointStore({ db: t.db, tenantId, schema });
      const refused = store.put("run", { state, step: 1 });
      await expect(refused).rejects.toMatchObject({ name: "PerchError", code: "PE422", detail: { path } });
    }
    const any = new CheckpointStore({ db: t.db, tenantId, schema: z.unknown() });
    const metadata = { model: { at: new Date() } };
    await expect(any.put("run", { state: 1, step: 1, metadata })).rejects.toMatchObject({
      code: "PE422",
      detail: { argument: "metadata", path: ["model", "at"] },
    });
    expect(await any.latest("run")).toBeUndefined();
  });

  it("takes any state that comes back as it is, whatever JSON it is made of", async () => {
    const json = fc.jsonValue({ stringUnit: "grapheme" }).filter((value) => !JSON.stringify(value).includes("\\u0000"));
    const store = new CheckpointStore({ db: t.db, tenantId: freshTenant(), schema: z.unknown() });
    const check = fc.asyncProperty(json, async (state) => {
      await store.put("run", { state, step: 1 });
      // Minus zero is zero to JSON, as it is to JavaScript's ===.
      expect((await store.latest("run"))?.state).toEqual(JSON.parse(JSON.stringify(state)));
    });
    await fc.assert(check, { numRuns: engine === "PGlite" ? 20 : 80 });
    const optional = new CheckpointStore({ db: t.db, tenantId: freshTenant(), schema });
    await optional.put("run", { state: { count: 1, note: undefined }, step: 1 });
    expect((await optional.latest("run"))?.state).toEqual({ count: 1 });
  });

  it("refuses ids that are no text, or that would become another's in the database", async () => {
    const store = fresh();
    for (const threadId of [{ id: 1 }, ["run"], 7, "x\ud83d", "a\0b"] as string[]) {
      for (const attempt of [
        () => store.put(threadId, { state: { count: 1 }, step: 1 }),
        () => store.latest(threadId),
        () => store.deleteThread(threadId),
        () => t.db.transaction((tx) => store.in(tx).latest(threadId)),
      ]) {
        await expect(attempt()).rejects.toMatchObject({ code: "PE422", detail: { argument: "thread_id" } });
      }
    }
    for (const tenantId of ["x\ud83d", "a\0b", { id: 1 } as never]) {
      expect(() => new CheckpointStore({ db: t.db, tenantId, schema })).toThrow(/invalid: tenant_id/);
    }
    for (const step of [Number.NaN, 1.5]) {
      await expect(store.put("run", { state: { count: 1 }, step })).rejects.toMatchObject({ code: "PE422" });
    }
    await expect(store.prune({ keepForMs: Number.NaN })).rejects.toMatchObject({ code: "PE422" });
  });

  it("lifts older states to the newest version, one version at a time", async () => {
    const tenantId = freshTenant();
    const one = stateVersions(z.object({ name: z.string() }));
    const two = one.upgrade(z.object({ first: z.string(), last: z.string() }), ({ name }) => {
      const [first = "", last = ""] = name.split(" ");
      return { first, last };
    });
    const three = two.upgrade(z.object({ initials: z.string() }), ({ first, last }) => ({
      initials: `${first[0]}${last[0]}`,
    }));
    const store = <S>(schema: ConstructorParameters<typeof CheckpointStore<S>>[0]["schema"]) =>
      new CheckpointStore<S>({ db: t.db, tenantId, schema });
    const oldest = await store(one).put("run", { state: { name: "Ada Lovelace" }, step: 1 });
    await store(two).put("run", { state: { first: "Grace", last: "Hopper" }, step: 2, parentId: oldest });

    const newest = store(three);
    const seen: [string, number][] = [];
    for await (const { state, schemaVersion } of newest.history("run")) seen.push([state.initials, schemaVersion]);
    expect(seen).toEqual([
      ["GH", 2],
      ["AL", 1],
    ]);
    await newest.updateState("run", oldest, ({ initials }) => ({ initials: initials.toLowerCase() }));
    expect(await newest.latest("run")).toMatchObject({ state: { initials: "al" }, schemaVersion: 3 });
    expect(await asTenant(t, tenantId, (tx) => latest(tx, "run"))).toMatchObject({
      schema_version: 3,
      state: { initials: "al" },
    });
  });

  it("hands out no state whose version is missing, newer than known or older than supported", async () => {
    const tenantId = freshTenant();
    const versions = stateVersions(z.object({ a: z.number() }), 2).upgrade(z.object({ b: z.number() }), ({ a }) => ({
      b: a,
    }));
    expect([versions.minVersion, versions.version]).toEqual([2, 3]);
    const store = new CheckpointStore({ db: t.db, tenantId, schema: versions });
    const ids = new Map<number, string>();
    for (const version of [1, 2, 3, 4]) {
      const state = version < 3 ? { a: version } : { b: version };
      ids.set(version, await asTenant(t, tenantId, (tx) => put(tx, "run", state, { schema_version: version })));
    }
    const read = async (version: number) => (await store.get("run", ids.get(version) as string))?.state;
    expect(await read(2)).toEqual({ b: 2 });
    expect(await read(3)).toEqual({ b: 3 });
    for (const version of [1, 4]) {
      const detail = { schema_version: version, min_version: 2, version: 3 };
      await expect(read(version)).rejects.toMatchObject({ code: "PE422", detail });
    }
    await expect(store.latest("run")).rejects.toMatchObject({ code: "PE422", detail: { schema_version: 4 } });
    await expect(store.updateState("run", ids.get(4) as string, (state) => state)).rejects.toMatchObject({
      code: "PE422",
    });
    const reading = (async () => {
      for await (const _ of store.history("run")) throw new Error("must not be handed out");
    })();
    await expect(reading).rejects.toMatchObject({ code: "PE422" });
    // As from a writer that knows no versions.
    await t.db.query("update perch.stored_checkpoints set schema_version = null where id = $1", [ids.get(3)]);
    await expect(read(3)).rejects.toMatchObject({ code: "PE422", detail: { schema_version: null } });
  });

  it("holds what is read to its version's schema, and an upgrade to its result's", async () => {
    const tenantId = freshTenant();
    const versions = stateVersions(z.object({ a: z.number() })).upgrade(z.object({ b: z.string() }), ({ a }) => ({
      b: a > 1 ? (a as never) : "fine",
    }));
    const store = new CheckpointStore({ db: t.db, tenantId, schema: versions });
    const raw = (state: unknown) => asTenant(t, tenantId, (tx) => put(tx, "run", state));
    await raw({ a: 1 });
    expect((await store.latest("run"))?.state).toEqual({ b: "fine" });
    await raw({ a: "text" });
    const error = (await store.latest("run").catch((caught: unknown) => caught)) as PerchError;
    expect(error).toMatchObject({ code: "PE422", detail: { schema_version: 1, issues: [{ path: ["a"] }] } });
    await raw({ a: 2 });
    await expect(store.latest("run")).rejects.toMatchObject({ code: "PE422", detail: { schema_version: 2 } });
  });

  it("keeps what a codec makes of JSON", async () => {
    const date = z.codec(z.iso.datetime(), z.date(), {
      decode: (text) => new Date(text),
      encode: (at) => at.toISOString(),
    });
    const tenantId = freshTenant();
    const store = new CheckpointStore({ db: t.db, tenantId, schema: z.object({ at: date }) });
    const at = new Date("2026-01-01T10:00:00.000Z");
    await store.put("run", { state: { at }, step: 1 });
    expect((await store.latest("run"))?.state).toEqual({ at });
    expect((await asTenant(t, tenantId, (tx) => latest(tx, "run")))?.state).toEqual({ at: "2026-01-01T10:00:00.000Z" });
  });
});
