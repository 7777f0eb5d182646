import { randomUUID } from "node:crypto";
import { beforeAll, expect, it } from "vitest";
import { describeEachEngine, type TestDatabase } from "../../support/databases.js";
import { asTenant, call, freshTenant, history, latest, put, type StoredCheckpoint, value } from "../support.js";

const uuid7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const nobody = "00000000-0000-0000-0000-000000000000";
const missing = randomUUID();

describeEachEngine("the tree of checkpoints", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
  });

  it("keeps what was put, and the head is what was put last", async () => {
    await asTenant(t, freshTenant(), async (tx) => {
      const first = await put(tx, "run", { a: 1, list: [1, 2], none: null });
      const second = await put(
        tx,
        "run",
        { a: 2 },
        { step: 2, parent_id: first, next_node: "ask", metadata: '{"by": "test"}' },
      );
      expect(await latest(tx, "run")).toMatchObject({
        id: second,
        thread_id: "run",
        parent_id: first,
        step: 2,
        state: { a: 2 },
        next_node: "ask",
        schema_version: 1,
        metadata: { by: "test" },
        created_at: expect.any(Date),
      });
      const [older] = await call<StoredCheckpoint>(tx, "get_checkpoint", { thread_id: "run", id: first });
      expect(older).toMatchObject({
        id: first,
        parent_id: null,
        state: { a: 1, list: [1, 2], none: null },
        metadata: {},
      });
      expect((await history(tx, "run")).map(({ id }) => id)).toEqual([second, first]);
    });
  });

  it("gives back every kind of state as it was", async () => {
    const states = [{}, [], [1, [2]], "text", 7, null, true, { "": 1, "ü\"'": { deep: [null] } }, "x".repeat(5000)];
    const long = Array.from({ length: 400 }, (_, n) => ({ n, text: `line ${n} `.repeat(10), "sp ace": [1.5, null] }));
    const object = Object.fromEntries(long.map((item) => [`k"${item.n}`, item]));
    await asTenant(t, freshTenant(), async (tx) => {
      for (const state of [...states, long, object, { long, object, text: "y".repeat(50_000) }]) {
        await put(tx, "any", state);
        expect((await latest(tx, "any"))?.state).toEqual(state);
      }
      expect(await history(tx, "any")).toHaveLength(states.length + 3);
    });
  });

  it("makes ids of version 7, each greater than the last, also within a millisecond", async () => {
    await asTenant(t, freshTenant(), async (tx) => {
      const ids: string[] = [];
      for (let count = 0; count < 200; count++) ids.push(await put(tx, "run", { count }));
      expect(ids.filter((id) => !uuid7.test(id))).toEqual([]);
      expect(ids).toEqual([...ids].sort());
      const at = Number.parseInt((ids[0] as string).replace("-", "").slice(0, 12), 16);
      expect(Math.abs(at - Date.now())).toBeLessThan(60_000);
      // The clock went back: ids do not.
      await tx.query("reset role");
      const future = "ffffffff-0000-7fff-8000-000000000000";
      expect(await value(tx, "uuid_v7", { after: future })).toMatch(/^ffffffff-0001-7000-/);
    });
  });

  it("keeps a put that names no parent as a root, and refuses a parent that is none of this thread", async () => {
    const tenant = freshTenant();
    await asTenant(t, tenant, async (tx) => {
      await put(tx, "one", 1);
      await put(tx, "one", 2);
      expect((await history(tx, "one")).map(({ parent_id }) => parent_id)).toEqual([null, null]);
    });
    const other = await asTenant(t, tenant, (tx) => put(tx, "two", 1));
    for (const parent_id of [missing, other]) {
      await expect(asTenant(t, tenant, (tx) => put(tx, "one", 3, { parent_id }))).rejects.toMatchObject({
        code: "PE404",
        detail: { thread_id: "one", parent_id },
      });
    }
  });

  it("appends a changed state below a checkpoint: the next step, the same next node", async () => {
    const tenant = freshTenant();
    const first = await asTenant(t, tenant, (tx) =>
      put(tx, "run", { a: 1 }, { step: 4, next_node: "ask", schema_version: 3 }),
    );
    await asTenant(t, tenant, async (tx) => {
      await put(tx, "run", { a: 2 }, { step: 5, parent_id: first });
      const args = { thread_id: "run", parent_id: first, state: '{"a": 9}' };
      const id = await value<string>(tx, "update_checkpoint_state", args);
      expect(await latest(tx, "run")).toMatchObject({
        id,
        parent_id: first,
        step: 5,
        next_node: "ask",
        schema_version: 3,
        state: { a: 9 },
      });
    });
    const args = { thread_id: "run", parent_id: missing, state: "{}" };
    await expect(asTenant(t, tenant, (tx) => value(tx, "update_checkpoint_state", args))).rejects.toMatchObject({
      code: "PE404",
    });
  });

  it("forks: a copy becomes the head of the same thread, or the root of an empty one", async () => {
    const tenant = freshTenant();
    const [first, second] = await asTenant(t, tenant, async (tx) => {
      const root = await put(tx, "run", { a: 1 }, { step: 1, next_node: "ask" });
      return [root, await put(tx, "run", { a: 2 }, { step: 2, parent_id: root })];
    });
    await asTenant(t, tenant, async (tx) => {
      const id = await value<string>(tx, "fork_checkpoint", { thread_id: "run", id: first });
      const copy = { step: 1, state: { a: 1 }, next_node: "ask" };
      expect(await latest(tx, "run")).toMatchObject({
        ...copy,
        id,
        parent_id: first,
        metadata: { forked_from: { id: first } },
      });
      await value(tx, "fork_checkpoint", { thread_id: "run", id: first, into_thread: "other" });
      const forked_from = { thread_id: "run", id: first };
      expect(await latest(tx, "other")).toMatchObject({ ...copy, parent_id: null, metadata: { forked_from } });
    });
    const again = { thread_id: "run", id: second, into_thread: "other" };
    await expect(asTenant(t, tenant, (tx) => value(tx, "fork_checkpoint", again))).rejects.toMatchObject({
      code: "PE409",
    });
    const unknown = { thread_id: "run", id: missing };
    await expect(asTenant(t, tenant, (tx) => value(tx, "fork_checkpoint", unknown))).rejects.toMatchObject({
      code: "PE404",
    });
  });

  it("reads the latest as the one committed last, whatever its step, its id or its branch", async () => {
    await asTenant(t, freshTenant(), async (tx) => {
      const root = await put(tx, "run", "root", { step: 1 });
      const deep = await put(tx, "run", "deep", { step: 90, parent_id: root });
      // After going back in time: a smaller step, and an id of one's own that sorts before all others.
      const branch = await put(tx, "run", "branch", {
        step: 2,
        parent_id: root,
        id: "00000000-0000-7000-8000-000000000001",
      });
      expect(await latest(tx, "run")).toMatchObject({ id: branch, state: "branch" });
      expect((await history(tx, "run")).map(({ id }) => id)).toEqual([branch, deep, root]);
      expect((await history(tx, "run", { max_count: 1 }))[0]?.id).toBe(branch);
      const [seen] = await tx.query<{ state: string }>(
        "select state #>> '{}' as state from perch.checkpoints where thread_id = 'run' order by seq desc limit 1",
      );
      expect(seen?.state).toBe("branch");
    });
  });

  it("puts only below the head that was expected, or only into an empty thread", async () => {
    const tenant = freshTenant();
    const first = await asTenant(t, tenant, (tx) => put(tx, "run", 1, { expected_head: nobody }));
    const second = await asTenant(t, tenant, (tx) => put(tx, "run", 2, { parent_id: first, expected_head: first }));
    for (const expected_head of [first, nobody, missing]) {
      await expect(asTenant(t, tenant, (tx) => put(tx, "run", 3, { expected_head }))).rejects.toMatchObject({
        code: "PE409",
        detail: { thread_id: "run", expected_head, head: second },
      });
    }
    await expect(asTenant(t, tenant, (tx) => put(tx, "new", 1, { expected_head: first }))).rejects.toMatchObject({
      code: "PE409",
    });
    // What failed left nothing, not even the thread.
    expect(await asTenant(t, tenant, (tx) => tx.query("select thread_id from perch.threads"))).toEqual([
      { thread_id: "run" },
    ]);
    expect(await asTenant(t, tenant, (tx) => history(tx, "run"))).toHaveLength(2);
  });

  it("reads a page of a size that was said, never of none or without end", async () => {
    const tenant = freshTenant();
    const ids = await asTenant(t, tenant, async (tx) => {
      const made: string[] = [];
      for (let count = 0; count < 5; count++) made.unshift(await put(tx, "run", { count }));
      return made;
    });
    await asTenant(t, tenant, async (tx) => {
      const page = async (args: Record<string, unknown>) => (await history(tx, "run", args)).map(({ id }) => id);
      expect(await page({ max_count: 2 })).toEqual(ids.slice(0, 2));
      expect(await page({ max_count: 2, before: ids[1] })).toEqual(ids.slice(2, 4));
      expect(await page({ max_count: 2, before: ids[4] })).toEqual([]);
      expect(await history(tx, "nowhere")).toEqual([]);
    });
    for (const max_count of [0, -1, 10_001, null]) {
      await expect(asTenant(t, tenant, (tx) => history(tx, "run", { max_count }))).rejects.toMatchObject({
        code: "PE422",
      });
    }
    await expect(asTenant(t, tenant, (tx) => history(tx, "run", { before: missing }))).rejects.toMatchObject({
      code: "PE404",
    });
  });

  it("takes the same put under an id of the caller's once, and another one under it never", async () => {
    const tenant = freshTenant();
    const id = randomUUID();
    const args = { id, step: 3, next_node: "ask", metadata: '{"m": 1}' };
    await asTenant(t, tenant, async (tx) => {
      expect(await put(tx, "run", { a: [1, 2] }, args)).toBe(id);
      const later = await put(tx, "run", { a: 3 }, { parent_id: id });
      // The answer was lost and the call is made again: nothing changes, also not the head, whatever it expects that to be.
      expect(await put(tx, "run", { a: [1, 2] }, { ...args, expected_head: nobody })).toBe(id);
      expect((await latest(tx, "run"))?.id).toBe(later);
      expect(await history(tx, "run")).toHaveLength(2);
    });
    for (const [state, other] of [
      [{ a: 9 }, {}],
      [{ a: [1, 2] }, { step: 4 }],
      [{ a: [1, 2] }, { metadata: "{}" }],
    ] as const) {
      await expect(asTenant(t, tenant, (tx) => put(tx, "run", state, { ...args, ...other }))).rejects.toMatchObject({
        code: "PE409",
      });
    }
  });

  it("refuses what it cannot store, naming it", async () => {
    const tenant = freshTenant();
    const refused = async (
      threadId: string,
      state: unknown,
      args: Record<string, unknown>,
      code: string,
      argument: string,
    ) =>
      expect(asTenant(t, tenant, (tx) => put(tx, threadId, state, args))).rejects.toMatchObject({
        code,
        detail: { argument },
      });
    await refused("", 1, {}, "PE422", "thread_id");
    await refused("a\nb", 1, {}, "PE422", "thread_id");
    await refused("run", 1, { step: null }, "PE422", "step");
    await refused("run", 1, { schema_version: null }, "PE422", "schema_version");
    await refused("run", 1, { metadata: "[]" }, "PE422", "metadata");
    await refused("run", 1, { next_node: "" }, "PE422", "next_node");
    await expect(
      asTenant(t, tenant, (tx) => value(tx, "put_checkpoint", { thread_id: "run", state: null, step: 1 })),
    ).rejects.toMatchObject({ code: "PE422", detail: { argument: "state" } });
    await expect(asTenant(t, tenant, (tx) => put(tx, "x".repeat(257), 1))).rejects.toMatchObject({ code: "PE413" });
    const small = asTenant(t, tenant, async (tx) => {
      await tx.query("set local perch.max_state_bytes = 1000");
      await put(tx, "run", "x".repeat(900));
      await put(tx, "run", "x".repeat(1001));
    });
    await expect(small).rejects.toMatchObject({ code: "PE413", detail: { limit: "max_state_bytes", max: 1000 } });
  });

  it("refuses numbers that are short as they are sent and fill the memory of whoever reads them", async () => {
    const tenant = freshTenant();
    const long = '{"messages": [{"n": 1e131000}]}';
    const calls: [string, unknown[]][] = [
      ["select perch.put_checkpoint(thread_id => 't', state => $1, step => 1)", [long]],
      ["select perch.put_checkpoint(thread_id => 't', state => '1e400', step => 1)", []],
      ["select perch.put_checkpoint(thread_id => 't', state => '{}', step => 1, metadata => $1)", [long]],
      ["select perch.append_thread_events(thread_id => 't', events => array['{}', $1::jsonb])", [long]],
      [
        "select perch.put_channels(null, 'c', '', gen_random_uuid(), null, 1, $1, '{}', '{}', '{}', '{}', '{}', '')",
        [long],
      ],
      [
        "select perch.put_channels(null, 'c', '', gen_random_uuid(), null, 1, '{}', $1, '{}', '{}', '{}', '{}', '')",
        [long],
      ],
    ];
    for (const [sql, params] of calls) {
      await expect(
        asTenant(t, tenant, (tx) => tx.query(sql, params)),
        sql,
      ).rejects.toMatchObject({ code: "PE422" });
    }
    const exact = `{"n": ${"9".repeat(300)}, "digits": "${"1".repeat(600)}"}`;
    await asTenant(t, tenant, (tx) => tx.query(calls[0]?.[0] ?? "", [exact]));
    const [row] = await asTenant(t, tenant, (tx) =>
      tx.query<{ state: string }>("select state::text as state from perch.latest_checkpoint(thread_id => 't')"),
    );
    expect(row?.state.replaceAll(/\s/g, "")).toBe(exact.replaceAll(/\s/g, ""));
  });

  it("stores a value that does not change once, also when it is long and changes a little", async () => {
    const tenant = freshTenant();
    const lines = Array.from({ length: 300 }, (_, n) => ({ n, text: `line ${n} `.repeat(30) }));
    const rows = (tx: Parameters<typeof latest>[0]) =>
      tx.query<{ vals: number; bytes: number }>(
        `select (select count(*) from perch.checkpoint_values) as vals, sum(octet_length(body)) as bytes from perch.checkpoint_pieces`,
      );
    await asTenant(t, tenant, async (tx) => {
      const same = { text: "long ".repeat(5000), small: 1 };
      await put(tx, "run", { ...same, lines, count: 0 });
      const [before] = await rows(tx);
      for (let count = 1; count <= 20; count++) {
        lines.push({ n: count, text: `more ${count} `.repeat(30) });
        await put(tx, "run", { ...same, lines, count });
      }
      const [after] = await rows(tx);
      // Of each step the counter and the list; of the list its end. Storing every state whole would take 21 times as much.
      expect((after?.vals ?? 0) - (before?.vals ?? 0)).toBe(40);
      expect((after?.bytes ?? 0) / (before?.bytes ?? 0)).toBeLessThan(3);
      expect((await latest(tx, "run"))?.state).toEqual({ ...same, lines, count: 20 });
    });
  });

  it("deletes a thread whole, says how many there were, and begins anew under its id", async () => {
    const tenant = freshTenant();
    await asTenant(t, tenant, async (tx) => {
      await put(tx, "run", { a: "x".repeat(2000) });
      await put(tx, "run", { a: 2 });
      await put(tx, "kept", { a: 3 });
      expect(await value(tx, "delete_thread", { thread_id: "run" })).toBe(2);
      expect(await value(tx, "delete_thread", { thread_id: "run" })).toBe(0);
      expect(await latest(tx, "run")).toBeUndefined();
      expect((await latest(tx, "kept"))?.state).toEqual({ a: 3 });
      for (const table of ["stored_checkpoints", "checkpoint_values", "threads"]) {
        expect(await tx.query(`select 1 from perch.${table}`), table).toHaveLength(1);
      }
      expect(await tx.query("select 1 from perch.checkpoint_pieces")).toEqual([]);
      await put(tx, "run", { a: 4 }, { expected_head: nobody });
      expect(await history(tx, "run")).toHaveLength(1);
    });
  });

  it("takes % and _ in ids for what they are", async () => {
    const tenant = freshTenant();
    const ids = ["a%", "a_", "ab", "a\\%", "%", "_"];
    await asTenant(t, tenant, async (tx) => {
      for (const id of ids) await put(tx, id, id);
      for (const id of ids) {
        expect((await latest(tx, id))?.state).toBe(id);
        expect(await history(tx, id)).toHaveLength(1);
      }
      expect(await value(tx, "delete_thread", { thread_id: "%" })).toBe(1);
      expect(await value(tx, "delete_thread", { thread_id: "a_" })).toBe(1);
      expect(await value(tx, "prune_checkpoints", { thread_id: "a%", keep_last: 1 })).toBe(0);
      const left = await tx.query<{ thread_id: string }>("select thread_id from perch.checkpoints");
      expect(left.map(({ thread_id }) => thread_id).sort()).toEqual(["a%", "a\\%", "ab", "_"].sort());
    });
  });
});
