import { afterAll, beforeAll, expect, it } from "vitest";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database, Transaction } from "../../src/database/types.js";
import { describeSomePostgres, type TestDatabase } from "../support/databases.js";
import { createGate, lockWaiters } from "../support/locks.js";
import { pause, underWay } from "../support/until.js";
import { createReplica, fold, live, load } from "./fold.js";
import { type Change, type Cursor, insert, pull, pullAll, push, records, remove, snapshot, update } from "./support.js";

const writers = 40;
const spaces = ["s1", "s2", "s3", "s4", "s5"];
const below = (count: number) => Math.floor(Math.random() * count);
const some = <T>(from: readonly T[]): T => from[below(from.length)] as T;

describeSomePostgres("Under load", (open, engine) => {
  let t: TestDatabase;
  let pool: Database;
  const as = <T>(user: string, work: (tx: Transaction) => Promise<T>) =>
    pool.transaction(async (tx) => {
      await tx.query("set local role perch_app");
      // Everybody is in all shared spaces.
      await tx.query("select perch.set_context($1, $2, $2)", [user, spaces]);
      return work(tx);
    });

  beforeAll(async () => {
    t = await open();
    pool = openPostgres({ url: t.url as string, poolSize: writers + 12 });
  });
  afterAll(() => pool.close());

  let written = 0;
  const writtenSince = () => {
    const before = written;
    return () => written - before;
  };

  let made = 0;
  /** Pushes until told to stop; returns the op_ids of what was committed. */
  async function write(user: string, until: () => boolean): Promise<string[]> {
    const committed: string[] = [];
    for (let round = 0; !until(); round++) {
      const changes = Array.from({ length: 1 + below(4) }, (): Change => {
        const space_id = some([...spaces, `~${user}`]);
        const id = `r${below(30)}`;
        const more = { space_id, op_id: `op${made++}` };
        return some([insert(id, { n: round }, more), update(id, { m: round }, more), remove(id, more)]);
      });
      const undo = Math.random() < 0.1;
      try {
        const results = await as(user, async (tx) => {
          // Sometimes the push is but one statement of a longer transaction.
          if (Math.random() < 0.2) await tx.query("select pg_sleep(0.01)");
          const pushed = await push(tx, changes, user);
          await pause(below(8));
          if (undo) throw new Error("undone");
          return pushed;
        });
        for (const { status, op_id } of results) {
          expect(status).toBe("applied");
          committed.push(op_id ?? "");
          written++;
        }
      } catch (error) {
        if (!(error instanceof Error) || error.message !== "undone") throw error;
      }
    }
    return committed;
  }

  it("readers see exactly the committed changes, once each, in order, without gaps, and nobody deadlocks", async () => {
    let stopped = false;
    // A transaction that stays open all the time, with a number of its own, holds nobody up.
    const bystander = pool.transaction(async (tx) => {
      await tx.query("create table if not exists public.bystander (n int)");
      await tx.query("insert into public.bystander values (1)");
      while (!stopped) await pause(50);
    });
    const seen = spaces.map(() => [] as string[]);
    const reading = seen.map(async (found, reader) => {
      let cursor: Cursor = {};
      for (let last = false; ; ) {
        const page = await as(`reader${reader}`, (tx) => pull(tx, { cursor, pageSize: 1 + below(20) }));
        found.push(...page.changes.map(({ space_id, seq, op_id }) => `${space_id}:${seq}:${op_id}`));
        cursor = page.cursor;
        if (last && !page.has_more) return;
        // The readers give what was captured its numbers.
        last = stopped && (await t.db.query("select from perch.captured_changes limit 1")).length === 0;
      }
    });
    const enough = writtenSince();
    const committed = (
      await Promise.all(
        Array.from({ length: writers }, (_, n) =>
          write(`w${n}`, () => enough() > (engine === "Postgres 18" ? 1500 : 500)),
        ),
      )
    ).flat();
    stopped = true;
    await bystander;
    await Promise.all(reading);

    const log = await t.db.query<{ space_id: string; seq: number; op_id: string }>(
      "select space_id, seq, op_id from perch.sync_changes order by space_id, seq",
    );
    expect(log.map(({ op_id }) => op_id).sort()).toEqual(committed.sort());
    const spacesThere = new Set(log.map(({ space_id }) => space_id));
    for (const space of spacesThere) {
      const entries = log.filter(({ space_id }) => space_id === space);
      expect(entries.map(({ seq }) => seq)).toEqual(entries.map((_, index) => index + 1));
    }
    for (const found of seen) {
      for (const space of spaces) {
        const entries = log.filter(({ space_id }) => space_id === space);
        expect(found.filter((key) => key.startsWith(`${space}:`))).toEqual(
          entries.map(({ space_id, seq, op_id }) => `${space_id}:${seq}:${op_id}`),
        );
      }
      expect(found.every((key) => spaces.includes(key.split(":")[0] ?? ""))).toBe(true);
    }
  });

  it("a push waits for nobody, whatever space others write, but for who writes the same record", async () => {
    const commit = createGate();
    const long = as("slow", async (tx) => {
      await push(tx, [insert("x", {}, { space_id: "s1" })]);
      await commit.pass();
    });
    await commit.reached;
    const other = await as("fast", (tx) => push(tx, [insert("x", {}, { space_id: "s2" })]));
    expect(other[0]?.status).toBe("applied");
    const same = await as("fast", (tx) => push(tx, [insert("y", {}, { space_id: "s1" })]));
    expect(same).toMatchObject([{ status: "applied", seq: null }]);
    const record = underWay(as("fast", (tx) => push(tx, [insert("x", {}, { space_id: "s1" })])));
    await lockWaiters(pool);
    commit.open();
    await long;
    expect((await record)[0]?.status).toBe("applied");
  });

  it("an op_id that comes from 20 connections at once is applied once, and all get the same result", async () => {
    for (const batch of [
      [insert("once", { n: 1 }, { op_id: "solo" })],
      Array.from({ length: 5 }, (_, n) => insert(`o${n}`, {}, { op_id: `o${n}` })),
    ]) {
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => as("racer", (tx) => push(tx, below(2) ? batch : [...batch].reverse()))),
      );
      const byId = answers.flat().map(({ op_id, space_id, seq }) => `${op_id} ${space_id} ${seq}`);
      expect(new Set(byId).size).toBe(batch.length);
      expect(answers.flat().filter(({ status }) => status === "applied")).toHaveLength(batch.length);
    }
  });

  it("an op_id whose first push is rolled back while others wait for it is applied by one of them", async () => {
    const once = [insert("again", {}, { op_id: "again" })];
    const end = createGate();
    const first = as("racer", async (tx) => {
      await push(tx, once);
      await end.pass();
      throw new Error("undone");
    }).catch((error: Error) => error.message);
    await end.reached;
    const others = underWay(Promise.all(Array.from({ length: 5 }, () => as("racer", (tx) => push(tx, once)))));
    await lockWaiters(pool, 5);
    end.open();
    expect(await first).toBe("undone");
    expect((await others).flat().filter(({ status }) => status === "applied")).toHaveLength(1);
  });

  it("a client that takes a snapshot in pages while others write misses nothing and ends equal, though the log was pruned under their hands", async () => {
    let ended = false;
    const busy = Promise.all(Array.from({ length: 8 }, (_, n) => write(`p${n}`, () => ended)));
    let pruned = 0;
    while (pruned < 100) {
      const rows = await pool.transaction(async (tx) => {
        await tx.query("set local role perch_worker");
        await tx.query("select set_config('perch.prune_batch', '50', true)");
        return tx.query<{ pruned: number }>("select perch.prune_changes('0', 20) as pruned");
      });
      pruned += rows[0]?.pruned ?? 0;
      await pause(20);
    }
    const replica = createReplica();
    let cursor: Cursor = {};
    for (const space of [...spaces, "~reader"]) {
      let after: string | null = null;
      let next: Cursor = {};
      do {
        const page = await as("reader", (tx) => snapshot(tx, { space, after, pageSize: 5, cursor }));
        load(replica, space, page);
        next = page.cursor;
        after = page.next;
        await pause(5);
      } while (after !== null);
      cursor = next;
    }
    const more = writtenSince();
    // Of those that count now, eight writers may have committed some before, and some go to spaces that the reader has not.
    while (more() < 200) await pause(10);
    ended = true;
    await busy;
    const taken = await as("reader", async (tx) => ({
      pages: await pullAll(tx, { cursor, pageSize: 50 }),
      server: await records(tx),
    }));
    expect(taken.pages.changes.length).toBeGreaterThan(50);
    fold(replica, taken.pages.changes);
    const mine = (found: Record<string, unknown>) =>
      Object.fromEntries(Object.entries(found).filter(([key]) => spaces.includes(key.split("/")[0] ?? "")));
    expect(mine(live(replica))).toEqual(mine(taken.server));
  });
});
