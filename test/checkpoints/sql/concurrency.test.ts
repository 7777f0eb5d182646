import { afterAll, beforeAll, expect, it } from "vitest";
import { openPostgres } from "../../../src/database/postgres.js";
import type { Database } from "../../../src/database/types.js";
import { PerchError } from "../../../src/errors.js";
import { describeEachPostgres, type TestDatabase } from "../../support/databases.js";
import { asTenant, call, freshTenant, history, latest, put, type StoredCheckpoint, value } from "../support.js";

const writers = 50;

describeEachPostgres("fifty connections on one thread", (open) => {
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

  it("trap 47: with an expected head exactly one wins, the others are told", async () => {
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

  it("trap 45: numbers in a thread's log have no gaps, whoever writes and whatever rolls back", async () => {
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
