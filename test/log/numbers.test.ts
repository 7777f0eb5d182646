/** Nobody waits for a space's number: what comes while it is taken is captured, and gets its number later, in the order of the commits. */
import { expect, it } from "vitest";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database, Transaction } from "../../src/database/types.js";
import { makeSpace } from "../gateway/support.js";
import { describeEachEngine, describeEachPostgres, type TestDatabase } from "../support/databases.js";
import { serving } from "../support/serving.js";
import { until } from "../support/until.js";
import { sequence, syncTable } from "../tables/support.js";
import { createReplica, fold, live, load } from "./fold.js";
import {
  type Change,
  type Cursor,
  type Entry,
  insert,
  pull,
  pullAll,
  push,
  type Result,
  records,
  remove,
  snapshot,
  update,
} from "./support.js";

const below = (count: number) => Math.floor(Math.random() * count);
const pick = <T>(from: readonly T[]): T => from[below(from.length)] as T;
const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

const as = <T>(db: Database, user: string, spaces: readonly string[], work: (tx: Transaction) => Promise<T>) =>
  db.transaction(async (tx) => {
    await tx.query("set local role perch_app");
    await tx.query("select perch.set_context($1, $2, $2)", [user, spaces]);
    return work(tx);
  });

/** A transaction that does something and is left open. Out: what it returned, and what ends it. */
async function leftOpen<T>(
  db: Database,
  user: string,
  spaces: readonly string[],
  work: (tx: Transaction) => Promise<T>,
) {
  let end = (): void => undefined;
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  let done: (value: T) => void = () => undefined;
  const result = new Promise<T>((resolve) => {
    done = resolve;
  });
  const running = as(db, user, spaces, async (tx) => {
    done(await work(tx));
    await ended;
  });
  const failed = running.then(() => new Promise<never>(() => undefined));
  return {
    result: await Promise.race([result, failed]),
    async end(): Promise<void> {
      end();
      await running;
    },
  };
}

const waiting = async (t: TestDatabase) => {
  const [row] = await t.db.query<{ count: number }>("select count(*) as count from perch.captured_changes");
  return row?.count ?? 0;
};

describeEachPostgres("A push into a space whose counter an open transaction holds", (open) => {
  it("does not wait, by SQL or HTTP; it says so, is replayed so, and is pulled by its op_id and txid when it has its number", async () => {
    const t = await open();
    await makeSpace(t, "team", "ada", { bob: "editor" });
    const node = await serving({ url: t.url ?? "", poolSize: 8 });
    const [holder, other] = [await t.connect(), await t.connect()];
    const held = await leftOpen(holder, "ada", ["team"], (tx) =>
      push(tx, [insert("held", {}, { space_id: "team", op_id: "h" })]),
    );
    expect(held.result).toMatchObject([{ status: "applied", seq: 1 }]);

    const changes = [insert("x", { n: 1 }, { space_id: "team", op_id: "x1" })];
    const [first] = await as(other, "bob", ["team"], (tx) => push(tx, changes));
    expect(first).toMatchObject({ status: "applied", space_id: "team", seq: null, txid: expect.any(String) });
    const [again] = await as(other, "bob", ["team"], (tx) => push(tx, changes));
    expect(again).toEqual({ ...first, status: "replayed" });
    const several = [
      update("x", { n: 2 }, { space_id: "team", op_id: "x2" }),
      remove("gone", { space_id: "team", op_id: "x3" }),
      insert("mine", {}, { op_id: "x4" }),
    ];
    const mixed = await as(other, "bob", ["team"], (tx) => push(tx, several));
    expect(mixed).toMatchObject([{ seq: null }, { seq: null }, { space_id: "~bob", seq: 1 }]);
    const body = { app_id: "todo", client_id: "web", changes: [insert("y", {}, { space_id: "team", op_id: "y1" })] };
    const web = await node.call("bob", "POST", "/v1/push", body);
    expect(web).toMatchObject({ status: 200, body: { results: [{ status: "applied", seq: null }] } });

    // The records are there for everybody, their numbers are not, and nothing else is behind.
    const read = await as(other, "ada", ["team"], (tx) => records(tx));
    expect(read).toMatchObject({ "team/tasks/x": { n: 2 }, "team/tasks/y": {} });
    const before = await as(other, "bob", ["team"], (tx) => pullAll(tx, {}));
    expect(before.changes.map(({ op_id }) => op_id)).toEqual(["x4"]);

    await held.end();
    await until(async () => (await waiting(t)) === 0);
    const { changes: pulled } = await as(other, "bob", ["team"], (tx) => pullAll(tx, {}));
    const ofTeam = pulled.filter(({ space_id }) => space_id === "team");
    expect(ofTeam.map(({ seq, op_id }) => [seq, op_id])).toEqual(
      ["h", "x1", "x2", "x3", "y1"].map((id, n) => [n + 1, id]),
    );
    expect(ofTeam[1]?.txid).toBe(first?.txid);
    expect(ofTeam[2]?.txid).toBe(mixed[0]?.txid);
    const [late] = await as(other, "bob", ["team"], (tx) => push(tx, changes));
    expect(late).toEqual({ op_id: "x1", status: "replayed", space_id: "team", seq: 2 });
    expect(await as(other, "bob", ["team"], (tx) => push(tx, [insert("z", {}, { space_id: "team" })]))).toMatchObject([
      { seq: 6 },
    ]);

    // What the log forgets, the receipts still know.
    await t.asWorker((tx) => tx.query("select perch.prune_changes(keep_for => '0', keep_last => 0)"));
    const [pruned] = await as(other, "bob", ["team"], (tx) => push(tx, changes));
    expect(pruned).toMatchObject({ status: "replayed", seq: 2 });
  });

  it("and so are its successors while it has none: whoever writes the same later has the greater number", async () => {
    const t = await open();
    const [one, two] = [await t.connect(), await t.connect()];
    const held = await leftOpen(one, "ada", ["team"], (tx) => push(tx, [insert("held", {}, { space_id: "team" })]));
    await as(two, "bob", ["team"], (tx) => push(tx, [insert("r", { n: 1 }, { space_id: "team", op_id: "r1" })]));
    await held.end();
    const [next] = await as(two, "cyd", ["team"], (tx) =>
      push(tx, [update("r", { n: 2 }, { space_id: "team", op_id: "r2" })]),
    );
    expect(next).toMatchObject({ status: "applied", seq: null });
    // No worker is there: the pull gives them their numbers.
    const { changes } = await as(two, "bob", ["team"], (tx) => pullAll(tx, {}));
    expect(changes.map(({ seq, op_id }) => [seq, op_id])).toEqual([
      [1, null],
      [2, "r1"],
      [3, "r2"],
    ]);
    const [last] = await as(two, "bob", ["team"], (tx) => push(tx, [remove("r", { space_id: "team" })]));
    expect(last).toMatchObject({ seq: 4 });
  });

  it("nor do those who open a space side by side", async () => {
    const t = await open();
    const [one, two] = [await t.connect(), await t.connect()];
    const held = await leftOpen(one, "ada", ["fresh"], (tx) => push(tx, [insert("a", {}, { space_id: "fresh" })]));
    expect(await as(two, "bob", ["fresh"], (tx) => push(tx, [insert("b", {}, { space_id: "fresh" })]))).toMatchObject([
      { status: "applied", seq: null },
    ]);
    await held.end();
    const { changes } = await as(two, "bob", ["fresh"], (tx) => pullAll(tx, {}));
    expect(changes.map(({ seq, id }) => [seq, id])).toEqual([
      [1, "a"],
      [2, "b"],
    ]);
  });

  it("leaves its own open transaction in nobody's way, and a rollback leaves nothing", async () => {
    const t = await open();
    const [one, two, three] = [await t.connect(), await t.connect(), await t.connect()];
    const holds = await leftOpen(one, "ada", ["team"], (tx) => push(tx, [insert("held", {}, { space_id: "team" })]));
    const captured = await leftOpen(two, "bob", ["team"], (tx) =>
      push(tx, [insert("captured", {}, { space_id: "team" })]),
    );
    expect(captured.result).toMatchObject([{ seq: null }]);
    await holds.end();
    // Its counter is free again, and what is open is not in sight.
    const push1 = () =>
      as(three, "cyd", ["team"], (tx) => push(tx, [insert(`free${below(1e9)}`, {}, { space_id: "team" })]));
    expect(await push1()).toMatchObject([{ seq: 2 }]);
    expect(await push1()).toMatchObject([{ seq: 3 }]);
    await captured.end();
    await expect(
      as(three, "cyd", ["team"], async (tx) => {
        await push(tx, [insert("undone", {}, { space_id: "team" })]);
        throw new Error("undone");
      }),
    ).rejects.toThrow("undone");
    const { changes } = await as(three, "cyd", ["team"], (tx) => pullAll(tx, {}));
    expect(changes.map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
    expect(changes[3]?.id).toBe("captured");
    expect(await waiting(t)).toBe(0);
  });

  it("keeps a transaction together that pushes twice, though others captured changes of the space in between", async () => {
    const t = await open();
    const [one, two] = [await t.connect(), await t.connect()];
    await as(one, "ada", ["team"], async (tx) => {
      await push(tx, [insert("a1", {}, { space_id: "team" })]);
      expect(
        await as(two, "bob", ["team"], (other) => push(other, [insert("b", {}, { space_id: "team" })])),
      ).toMatchObject([{ seq: null }]);
      expect(await push(tx, [insert("a2", {}, { space_id: "team" })])).toMatchObject([{ seq: 2 }]);
      // All but a record that one of them has written: that would overtake it.
      expect(await push(tx, [update("b", { n: 1 }, { space_id: "team" })])).toMatchObject([{ seq: null }]);
    });
    const { changes } = await as(two, "bob", ["team"], (tx) => pullAll(tx, {}));
    expect(changes.map(({ id }) => id)).toEqual(["a1", "a2", "b", "b"]);
  });

  it("is in a snapshot without its number, and pulled from there changes nothing", async () => {
    const t = await open();
    const [one, two] = [await t.connect(), await t.connect()];
    await as(one, "ada", ["team"], (tx) =>
      push(tx, [insert("a", { n: 1 }, { space_id: "team" }), insert("d", {}, { space_id: "team" })]),
    );
    const held = await leftOpen(one, "ada", ["team"], (tx) => push(tx, [insert("held", {}, { space_id: "team" })]));
    for (const changes of [
      [insert("a", { m: 2 }, { space_id: "team" }), update("a", { n: 3 }, { space_id: "team" })],
      [remove("d", { space_id: "team" })],
      [insert("b", { n: 1 }, { space_id: "team" })],
    ])
      await as(two, "bob", ["team"], (tx) => push(tx, changes));
    const replica = createReplica();
    const page = await as(two, "cyd", ["team"], (tx) => snapshot(tx, { space: "team" }));
    load(replica, "team", page);
    const before = live(replica);
    expect(Object.keys(before).sort()).toEqual(["team/tasks/a", "team/tasks/b"]);
    await held.end();
    const { changes } = await as(two, "cyd", ["team"], (tx) => pullAll(tx, { cursor: page.cursor }));
    expect(changes.map(({ seq }) => seq)).toEqual([3, 4, 5, 6, 7]);
    fold(replica, changes);
    expect(live(replica)).toEqual({ ...before, "team/tasks/held": {} });
    expect(live(replica)).toEqual(await as(two, "cyd", ["team"], (tx) => records(tx)));
  });
});

describeEachPostgres("A push behind rows that have no number", (open) => {
  it("has none either, also where their transaction was open while all else got its numbers, or transactions are counted anew", async () => {
    const t = await open();
    await t.db.query("create table items (id int primary key, team text)");
    await syncTable(t.db, "items", "space_column => 'team'");
    const pushed = () =>
      as(t.db, "ann", ["red"], async (tx) => (await push(tx, [insert("x", {}, { space_id: "red" })]))[0]?.seq);
    let written = (): void => undefined;
    let commit = (): void => undefined;
    const isWritten = new Promise<void>((resolve) => {
      written = resolve;
    });
    const mayCommit = new Promise<void>((resolve) => {
      commit = resolve;
    });
    const holder = await t.connect();
    const held = holder.transaction(async (tx) => {
      await tx.query("insert into items values (1, 'red')");
      written();
      await mayCommit;
    });
    await Promise.race([isWritten, held]);
    await t.db.query("insert into items values (2, 'blue')");
    await sequence(t.db);
    const [noted] = await t.db.query("select waits_from > '0' as here, bound > 0 as there from perch.sequencer");
    expect(noted).toEqual({ here: true, there: true });
    commit();
    await held;
    expect(await pushed()).toBe(null);
    await sequence(t.db);
    expect(await pushed()).toBe(3);

    await t.db.query("update perch.sequencer set waits_from = '1000000000000'");
    await t.db.query("insert into items values (3, 'red')");
    expect(await pushed()).toBe(null);
  });

  it("has none either where their transaction gave what it had written a number by a pull, and wrote on", async () => {
    const t = await open();
    await t.db.query("create table items (id int primary key, team text, n int)");
    await syncTable(t.db, "items", "space_column => 'team', writable_columns => '{n}'");
    const holder = await t.connect();
    const at = new Date().toISOString();
    await holder.transaction(async (tx) => {
      await tx.query("select perch.set_context('ann', '{red}', '{red}')");
      await tx.query("insert into items values (1, 'red', 1)");
      await t.db.query("insert into items values (2, 'blue', 1)");
      expect((await pullAll(tx, { appId: "shop" })).changes).toHaveLength(1);
      await tx.query("update items set n = 2 where id = 1");
    });
    const changes = [
      insert("x", {}, { space_id: "red" }),
      update("1", { n: 0 }, { table: "items", space_id: "red", at }),
    ];
    const results = await as(t.db, "bob", ["red"], (tx) => push(tx, changes, "phone", "shop"));
    expect(results).toMatchObject([{ seq: null }, { seq: null }]);
    expect(await t.db.query("select n from items where id = 1")).toEqual([{ n: 2 }]);
  });
});

describeEachEngine("Rows and records of one transaction", (open) => {
  it("have one place in the log when the rows come first, and no page comes between them", async () => {
    const t = await open();
    await t.db.query("create table items (id int primary key, team text, n int)");
    await syncTable(t.db, "items", "space_column => 'team', writable_columns => '{n}'");
    const write = (id: number) =>
      t.db.transaction(async (tx) => {
        await tx.query("select perch.set_context('ann', '{red}', '{red}')");
        await tx.query("insert into items values ($1, 'red', 1)", [id]);
        const results = await push(tx, [insert(`r${id}`, {}, { space_id: "red" })], "phone", "shop");
        expect(results).toMatchObject([{ status: "applied", seq: null }]);
        await tx.query("update items set n = 2 where id = $1", [id]);
      });
    await write(1);
    await write(2);
    const txids: (string | null)[][] = [];
    let cursor: Cursor = {};
    for (let more = true; more; ) {
      const page = await t.db.transaction(async (tx) => {
        await tx.query("select perch.set_context('bob', '{red}')");
        return pull(tx, { appId: "shop", cursor, pageSize: 1 });
      });
      txids.push(page.changes.map(({ txid }) => txid));
      cursor = page.cursor;
      more = page.has_more;
    }
    expect(txids.map((page) => page.length)).toEqual([3, 3]);
    for (const page of txids) expect(new Set(page).size).toBe(1);
  });

  it("have one place where a call writes the rows, behind a record in the same push", async () => {
    const t = await open();
    const rules = `rules_${Math.random().toString(36).slice(2)}`;
    await t.db.transaction((tx) =>
      tx.script(`
        create role ${rules} nologin;
        create table items (id int primary key, team text, n int);
        alter table items owner to ${rules};
        create function add_item(args jsonb) returns jsonb language plpgsql security definer set search_path = pg_catalog, pg_temp as
          $$ begin insert into public.items values ((args ->> 'id')::int, 'red', 1); return '{}'; end $$;
        alter function add_item owner to ${rules};
        select perch.sync_table('items', 'shop', space_column => 'team');
        select perch.register_mutator('shop', 'add_item', 'add_item(jsonb)');`),
    );
    await t.db.transaction(async (tx) => {
      await tx.query("select perch.set_context('ann', '{red}', '{red}')");
      const results = await push(
        tx,
        [
          insert("note", {}, { space_id: "red" }),
          { op: "call", name: "add_item", args: { id: 1 } },
          insert("after", {}, { space_id: "red" }),
        ],
        "phone",
        "shop",
      );
      expect(results).toMatchObject([{ status: "applied", seq: null }, { status: "applied" }, { status: "applied" }]);
      expect((await push(tx, [insert("alone", {}, { space_id: "blue" })], "phone", "shop"))[0]?.error?.code).toBe(
        "PE403",
      );
    });
    const page = await t.db.transaction(async (tx) => {
      await tx.query("select perch.set_context('bob', '{red}')");
      return pull(tx, { appId: "shop", pageSize: 1 });
    });
    expect(page.changes.map(({ id }) => id)).toEqual(["note", "1", "after"]);
  });

  it("does not give a client back what it pushed as records", async () => {
    const t = await open();
    await t.db.query("create table items (id int primary key, team text)");
    await syncTable(t.db, "items", "space_column => 'team'");
    const ann = <T>(work: (tx: Transaction) => Promise<T>) =>
      t.db.transaction(async (tx) => {
        await tx.query("select perch.set_context('ann', '{red}', '{red}')");
        return work(tx);
      });
    const options = { appId: "shop", exclude: "phone" };
    const { cursor } = await ann((tx) => pull(tx, options));
    await ann(async (tx) => {
      await tx.query("insert into items values (1, 'red')");
      await push(tx, [insert("mine", {}, { space_id: "red" })], "phone", "shop");
    });
    const page = await ann((tx) => pull(tx, { ...options, cursor }));
    expect(page.changes.map(({ table }) => table)).toEqual(["items"]);
    expect(page.has_more).toBe(false);
  });
});

describeEachPostgres("Many writers of few spaces, by SQL and HTTP, with rows among them", (open) => {
  const spaces = ["red", "blue"];
  const writers = 20;
  const browsers = 8;
  const durationMs = 2_500;

  /** A follower with small pages: looks at each for gaps and cut transactions. */
  class Follower {
    cursor: Cursor = {};
    readonly entries: Entry[] = [];
    readonly last = new Map<string, Entry>();

    async step(db: Database): Promise<boolean> {
      const page = await as(db, "fay", spaces, (tx) =>
        pull(tx, { appId: "shop", cursor: this.cursor, pageSize: 1 + below(10) }),
      );
      for (const space of spaces) {
        const entries = page.changes.filter(({ space_id }) => space_id === space);
        const before = this.last.get(space);
        if (before && entries[0]) expect(entries[0].txid, "the page before was cut").not.toBe(before.txid);
        for (const entry of entries) {
          expect(entry.seq).toBe((this.last.get(space)?.seq ?? 0) + 1);
          this.last.set(space, entry);
        }
      }
      this.entries.push(...page.changes);
      this.cursor = page.cursor;
      return page.has_more;
    }
  }

  it("all end with one log: dense, whole, nothing twice, in the order in which the records were written", async () => {
    const t = await open();
    for (const space of spaces)
      await makeSpace(
        t,
        space,
        "ada",
        Object.fromEntries(Array.from({ length: browsers }, (_, n) => [`b${n}`, "editor"])),
      );
    await t.db.query("create table items (id int primary key, team text, n int)");
    await t.db.query("grant all on items to perch_app");
    await syncTable(t.db, "items", "space_column => 'team'");
    await t.db.query(
      "insert into items select n, case when n % 2 = 0 then 'red' else 'blue' end, 0 from generate_series(1, 8) n",
    );
    // The order in which transactions had the lock of each record, noted while they had it.
    await t.db.transaction((tx) =>
      tx.script(`
      create table writings (nth bigserial, space_id text, record_id text, txid text);
      grant all on writings, writings_nth_seq to public;
      create function noted() returns trigger language plpgsql security definer as $$
        begin
          insert into public.writings (space_id, record_id, txid) values (new.space_id, new.record_id, pg_current_xact_id()::text);
          return null;
        end $$;
      create trigger noted after insert or update on perch.stored_records for each row execute function noted();`),
    );
    const node = await serving({ url: t.url ?? "", poolSize: 12 });
    const pool = openPostgres({ url: t.url as string, poolSize: writers + 6 });
    const end = Date.now() + durationMs;
    const committed = new Map<string, Result>();
    const rolledBack = new Set<string>();
    const places = { waited: 0, atOnce: 0 };
    const commit = (result: Result) => {
      committed.set(result.op_id ?? "", result);
      places[result.seq === null ? "waited" : "atOnce"] += 1;
    };
    /** However slow the machine is, there is enough of both. */
    const goesOn = () => Date.now() < end || Math.min(places.waited, places.atOnce) <= 20;
    let count = 0;
    const changes = (from: number, upto: number): (Change & { op_id: string })[] =>
      Array.from({ length: 1 + below(3) }, () => {
        const more = {
          space_id: pick(spaces),
          op_id: `op${count++}`,
          ...(Math.random() < 0.5 && { at: new Date().toISOString() }),
        };
        const id = `r${from + below(upto - from)}`;
        return pick([insert(id, { n: count }, more), update(id, { m: count }, more), remove(id, more)]) as Change & {
          op_id: string;
        };
      });

    async function writer(index: number): Promise<void> {
      const undone = new Error("undone");
      while (goesOn()) {
        // A second push of one transaction takes records that are only taken so: else two of them may come to a deadlock.
        const pushes = [changes(0, 12), ...(Math.random() < 0.3 ? [changes(12, 18)] : [])];
        try {
          const results = await as(pool, `w${index}`, spaces, async (tx) => {
            if (Math.random() < 0.2) await tx.query("update items set n = n + 1 where id = $1", [1 + below(8)]);
            const found: Result[] = [];
            for (const batch of pushes) {
              found.push(...(await push(tx, batch, `w${index}`, "shop")));
              await pause(below(10));
            }
            if (Math.random() < 0.1) throw undone;
            return found;
          });
          for (const result of results) {
            expect(result.status).toBe("applied");
            commit(result);
          }
        } catch (error) {
          if (error !== undone) throw error;
          for (const { op_id } of pushes.flat()) rolledBack.add(op_id);
        }
      }
    }
    async function browser(index: number): Promise<void> {
      while (goesOn()) {
        const batch = changes(0, 12);
        const pushed = () =>
          node.call(`b${index}`, "POST", "/v1/push", { app_id: "shop", client_id: "web", changes: batch });
        let answer = await pushed();
        // Others had what it needs for longer than a request waits: so clients push again.
        while (answer.status === 503) answer = await pushed();
        expect(answer.status, JSON.stringify(answer.body)).toBe(200);
        for (const result of (answer.body as { results: Result[] }).results) {
          expect(result.status).toBe("applied");
          commit(result);
        }
      }
    }
    const followers = [new Follower(), new Follower()];
    let written = false;
    const following = followers.map(async (follower) => {
      while (!written) await follower.step(pool);
    });
    await Promise.all([
      ...Array.from({ length: writers }, (_, n) => writer(n)),
      ...Array.from({ length: browsers }, (_, n) => browser(n)),
    ]);
    await until(async () => (await waiting(t)) === 0);
    written = true;
    await Promise.all(following);
    for (const follower of followers) while (await follower.step(pool)) void 0;

    const server = await as(pool, "fay", spaces, (tx) => records(tx, "shop"));
    const order = await t.db.query<{ space_id: string; record_id: string; txid: string }>(
      "select space_id, record_id, txid from writings order by nth",
    );
    const runs = (rows: readonly { key: string; txid: string | null }[]) => {
      const found: Record<string, (string | null)[]> = {};
      for (const { key, txid } of rows) {
        found[key] ??= [];
        if (found[key].at(-1) !== txid) found[key].push(txid);
      }
      return found;
    };
    for (const { entries } of followers) {
      const ofRecords = entries.filter(({ table }) => table === "tasks");
      const ids = ofRecords.map(({ op_id }) => op_id);
      expect(new Set(ids).size).toBe(ids.length);
      expect([...ids].sort()).toEqual([...committed.keys()].sort());
      expect(ids.filter((id) => rolledBack.has(id ?? ""))).toEqual([]);
      for (const { op_id, seq, txid } of ofRecords) {
        const result = committed.get(op_id ?? "");
        if (result?.seq == null) expect(txid).toBe(result?.txid);
        else expect(seq).toBe(result.seq);
      }
      // A rollback leaves no entry, and what was noted of it went back, too.
      expect(runs(ofRecords.map(({ space_id, id, txid }) => ({ key: `${space_id}/${id}`, txid })))).toEqual(
        runs(order.map(({ space_id, record_id, txid }) => ({ key: `${space_id}/${record_id}`, txid }))),
      );
      const replica = createReplica();
      fold(replica, ofRecords);
      expect(live(replica)).toEqual(server);
    }
    const [row] = await t.db.query<{ deadlocks: number }>(
      "select deadlocks from pg_stat_database where datname = current_database()",
    );
    expect(row?.deadlocks).toBe(0);
    await pool.close();
  });
});
