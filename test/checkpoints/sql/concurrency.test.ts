import { afterAll, beforeAll, expect, it } from "vitest";
import { openPostgres } from "../../../src/database/postgres.js";
import type { Database, Transaction } from "../../../src/database/types.js";
import { PerchError } from "../../../src/errors.js";
import { describeSomePostgres, type TestDatabase } from "../../support/databases.js";
import { asTenant, call, freshTenant, history, latest, put, type StoredCheckpoint, value } from "../support.js";

const writers = 50;

describeSomePostgres("fifty connections on one thread", (open) => {
  let t: TestDatabase;
  let db: Database;
  /** The same database through as many connections. */
  let many: TestDatabase;
  beforeAll(async () => {
    t = await open();
    db = openPostgres({ url: t.url as string, poolSize: writers });
    many = { ...t, db };
  });
  afterAll(() => db.close());

  const all = <T>(work: (nth: number) => Promise<T>) =>
    Promise.allSettled(Array.from({ length: writers }, (_, nth) => work(nth)));
  const values = <T>(results: PromiseSettledResult<T>[]) =>
    results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  const codes = (results: PromiseSettledResult<unknown>[]) =>
    results.flatMap((result) => (result.status === "rejected" ? [(result.reason as PerchError).code] : []));

  it("with an expected head exactly one wins, the others are told", async () => {
    const tenant = freshTenant();
    let head = "00000000-0000-0000-0000-000000000000";
    for (let round = 1; round <= 5; round++) {
      const results = await all((nth) =>
        asTenant(many, tenant, (tx) => put(tx, "run", { round, nth }, { step: round, expected_head: head })),
      );
      const won = values(results);
      expect(won).toHaveLength(1);
      expect(codes(results)).toEqual(Array.from({ length: writers - 1 }, () => "PE409"));
      head = won[0] as string;
      expect((await asTenant(t, tenant, (tx) => latest(tx, "run")))?.id).toBe(head);
    }
    expect(await asTenant(t, tenant, (tx) => history(tx, "run"))).toHaveLength(5);
  });

  it("prunes some threads at a time, and keeps nobody from the others", async () => {
    const tenant = freshTenant();
    await asTenant(t, tenant, async (tx) => {
      await tx.query(
        `select perch.put_checkpoint(thread_id => 't' || lpad(nth::text, 3, '0'), state => jsonb_build_object('no', no), step => no)
           from generate_series(1, 250) nth cross join generate_series(1, 3) no`,
      );
      await put(tx, "a", { only: true });
    });
    const prune = (tx: Transaction) => value<number>(tx, "prune_checkpoints", { keep_last: 1 });
    const free = async () => {
      const rows = await t.db.query<{ thread_id: string }>(
        "select thread_id from perch.threads where tenant_id = $1 order by thread_id for update skip locked",
        [tenant],
      );
      return rows.map(({ thread_id }) => thread_id);
    };
    const results: number[] = [];
    await asTenant(many, tenant, async (tx) => {
      results.push(await prune(tx));
      const others = await free();
      expect([others.length, others[0], others[1]]).toEqual([51, "a", "t201"]);
    });
    for (let call = 0; call < 2; call++) {
      await asTenant(many, tenant, async (tx) => {
        results.push(await prune(tx));
        expect((await free()).length).toBe(call === 0 ? 201 : 251);
      });
    }
    expect(results).toEqual([400, 100, 0]);
  });

  it("without one all are kept, and the head is the last committed", async () => {
    const tenant = freshTenant();
    const committed: { id: string; at: number }[] = [];
    const results = await all(async (nth) => {
      for (let count = 0; count < 4; count++) {
        const id = await asTenant(many, tenant, async (tx) => {
          const made = await put(tx, "run", { nth, count, same: "x".repeat(1000) });
          await tx.query("select pg_sleep(random() * 0.003)");
          return made;
        });
        committed.push({ id, at: performance.now() });
      }
    });
    expect(codes(results)).toEqual([]);
    const kept = await asTenant(t, tenant, (tx) => history(tx, "run", { max_count: 1000 }));
    expect(kept).toHaveLength(writers * 4);
    expect(new Set(kept.map(({ id }) => id)).size).toBe(writers * 4);
    // In the order of the commits, which is also that of the ids: nobody got one before it was its turn.
    const ids = kept.map(({ id }) => id).reverse();
    expect(ids).toEqual([...ids].sort());
    const [head] = await asTenant(t, tenant, (tx) =>
      call<StoredCheckpoint>(tx, "latest_checkpoint", { thread_id: "run" }),
    );
    expect(head?.id).toBe(ids.at(-1));
    const seen = new Set(kept.map(({ state }) => JSON.stringify(state)));
    expect(seen.size).toBe(writers * 4);
  });

  it("shows as head what was committed last, not what was begun last", async () => {
    const tenant = freshTenant();
    await asTenant(t, tenant, (tx) => put(tx, "run", "first"));
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let begun = () => {};
    const started = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const slow = asTenant(many, tenant, async (tx) => {
      await put(tx, "run", "slow");
      begun();
      await held;
    });
    await started;
    const quick = asTenant(many, tenant, (tx) => put(tx, "run", "quick"));
    expect((await asTenant(t, tenant, (tx) => latest(tx, "run")))?.state).toBe("first");
    release();
    await Promise.all([slow, quick]);
    const kept = await asTenant(t, tenant, (tx) => history(tx, "run"));
    expect(kept.map(({ state }) => state)).toEqual(["quick", "slow", "first"]);
  });

  it("each step follows the last when every writer tries until it has the head", async () => {
    const tenant = freshTenant();
    const root = await asTenant(t, tenant, (tx) => put(tx, "run", { sum: 0 }, { step: 0 }));
    const results = await all(async () => {
      for (;;) {
        try {
          return await asTenant(many, tenant, async (tx) => {
            const head = (await latest(tx, "run")) as StoredCheckpoint & { state: { sum: number } };
            const args = { thread_id: "run", parent_id: head.id, state: JSON.stringify({ sum: head.state.sum + 1 }) };
            return value<string>(tx, "update_checkpoint_state", { ...args, expected_head: head.id });
          });
        } catch (error) {
          if (!(error instanceof PerchError && error.code === "PE409")) throw error;
        }
      }
    });
    expect(codes(results)).toEqual([]);
    const chain = (await asTenant(t, tenant, (tx) => history(tx, "run", { max_count: 1000 }))).reverse();
    expect(chain.map(({ step, state }) => [step, (state as { sum: number }).sum])).toEqual(
      Array.from({ length: writers + 1 }, (_, nth) => [nth, nth]),
    );
    expect(chain.map(({ parent_id }) => parent_id)).toEqual([null, root, ...chain.slice(1, -1).map(({ id }) => id)]);
  });

  it("deleting and pruning meanwhile leave no half of anything, and end in no deadlock", async () => {
    const tenant = freshTenant();
    const results = await all(async (nth) => {
      for (let count = 0; count < 6; count++) {
        await asTenant(many, tenant, async (tx) => {
          if (nth === 0) await value(tx, "delete_thread", { thread_id: "run" });
          else if (nth === 1) await value(tx, "prune_checkpoints", { keep_last: 2 });
          else await put(tx, "run", { nth, count, long: "y".repeat(3000), list: [nth] });
        });
        const seen = await asTenant(many, tenant, (tx) => latest(tx, "run"));
        if (seen) expect(Object.keys(seen.state as object).sort()).toEqual(["count", "list", "long", "nth"]);
      }
    });
    expect(codes(results)).toEqual([]);
    await asTenant(t, tenant, async (tx) => {
      await value(tx, "delete_thread", { thread_id: "run" });
      for (const table of ["threads", "stored_checkpoints", "checkpoint_values", "checkpoint_pieces"]) {
        expect(await tx.query(`select 1 from perch.${table}`), table).toEqual([]);
      }
    });
  });

  it("numbers in a thread's log have no gaps, whoever writes and whatever rolls back", async () => {
    const tenant = freshTenant();
    const results = await all(async (nth) => {
      for (let count = 0; count < 4; count++) {
        await asTenant(many, tenant, async (tx) => {
          await value(tx, "append_thread_events", { thread_id: "run", events: ["1", "2"] });
          if ((nth + count) % 5 === 0) throw new Error("changed my mind");
        }).catch((error: Error) => {
          if (error.message !== "changed my mind") throw error;
        });
      }
    });
    expect(codes(results)).toEqual([]);
    const events = await asTenant(t, tenant, (tx) =>
      call<{ number: number }>(tx, "load_thread_events", { thread_id: "run", after: 0 }),
    );
    expect(events.map(({ number }) => number)).toEqual(
      Array.from({ length: writers * 4 * 2 * 0.8 }, (_, nth) => nth + 1),
    );
  });

  it("exactly one gets the lease", async () => {
    const tenant = freshTenant();
    const results = await all((nth) =>
      asTenant(many, tenant, (tx) =>
        call<{ token: number }>(tx, "acquire_lease", { thread_id: "run", holder: `w${nth}` }),
      ),
    );
    expect(codes(results)).toEqual([]);
    expect(values(results).flat()).toHaveLength(1);
  });
});

describeSomePostgres("two tasks of a step that write the same", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
  });
  const checkpointId = "1f0c0000-0000-6000-8000-000000000001";
  const packed = (values: readonly unknown[]) => {
    const texts = values.map((value) => Buffer.from(JSON.stringify(value)));
    const starts = texts.map((_, nth) => 1 + texts.slice(0, nth).reduce((sum, { length }) => sum + length, 0));
    return {
      types: values.map(() => null),
      starts,
      sizes: texts.map(({ length }) => length),
      payload: new Uint8Array(Buffer.concat(texts)),
    };
  };
  const idsOf = (threadId: string) => ({ tenant_id: null, thread_id: threadId, namespace: "" });
  const writing = (task: string) => (tx: Transaction, threadId: string, values: readonly unknown[]) =>
    value(tx, "put_writes", {
      ...idsOf(threadId),
      checkpoint_id: checkpointId,
      task_id: task,
      idxs: values.map((_, nth) => nth),
      channels: values.map((_, nth) => `c${nth}`),
      ...packed(values),
    });
  const putting = (tx: Transaction, threadId: string, values: readonly unknown[]) => {
    const channels = values.map((_, nth) => `c${nth}`);
    return value(tx, "put_channels", {
      ...idsOf(threadId),
      id: checkpointId,
      parent_id: null,
      step: 1,
      metadata: "{}",
      checkpoint: JSON.stringify({ v: 4, channel_versions: Object.fromEntries(channels.map((name) => [name, 1])) }),
      channels,
      ...packed(values),
    });
  };

  const text = (name: string) => name.repeat(1000);
  const list = (name: string) => Array.from({ length: 6 }, (_, nth) => `${name}${nth}${"-".repeat(5000)}`);
  const kinds = {
    "long texts": [text("x"), text("y"), text("m"), text("n")],
    "long lists": [list("x"), list("y"), list("m"), list("n")],
    "long texts and lists": [text("x"), list("y"), list("m"), text("n")],
  };
  const others = { "another task": writing("second"), "the put of the checkpoint": putting };
  for (const [what, [x, y, m, n]] of Object.entries(kinds)) {
    for (const [who, second] of Object.entries(others)) {
      it(`do not deadlock, whatever the order: ${what}, a task and ${who}`, async () => {
        const tenant = freshTenant();
        const db = openPostgres({ url: t.url as string, poolSize: 4 });
        const many = { ...t, db };
        try {
          await asTenant(many, tenant, (tx) => writing("before")(tx, "run", ["begun"]));
          // Somebody else is just storing what both have in the middle, so both are stopped half-way.
          let commit = () => {};
          const held = new Promise<void>((done) => {
            commit = done;
          });
          let stored = () => {};
          const isStored = new Promise<void>((done) => {
            stored = done;
          });
          const holding = asTenant(many, tenant, async (tx) => {
            await writing("third")(tx, "run", [m, n]);
            stored();
            await held;
          });
          await isStored;
          const both = [
            asTenant(many, tenant, (tx) => writing("first")(tx, "run", [x, m, y])),
            asTenant(many, tenant, (tx) => second(tx, "run", [y, n, x])),
          ];
          const settled = Promise.allSettled(both);
          const waiting = `select 1 from pg_stat_activity
            where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0`;
          await expect.poll(async () => (await t.db.query(waiting)).length).toBe(2);
          commit();
          await holding;
          expect(await settled).toMatchObject([{ status: "fulfilled" }, { status: "fulfilled" }]);
        } finally {
          await db.close();
        }
      });
    }
  }
});
