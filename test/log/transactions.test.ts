import { beforeAll, expect, it } from "vitest";
import type { Transaction } from "../../src/database/types.js";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";
import { type Cursor, insert, type Page, pull, pullAll, push } from "./support.js";

const many = (count: number, more = {}) => Array.from({ length: count }, (_, n) => insert(`r${n}`, { n }, more));

describeEachEngine("Transactions in the log", (open) => {
  let t: TestDatabase;
  let users = 0;
  beforeAll(async () => {
    t = await open();
  });
  const nobody = () => `user${++users}`;
  const as = <T>(who: string, work: (tx: Transaction) => Promise<T>) => t.asUser(who, work);
  const pages = (who: string, options: { pageSize?: number; tables?: string[]; bytes?: number }) =>
    as(who, async (tx) => {
      if (options.bytes !== undefined)
        await tx.query("select set_config('perch.page_bytes', $1, true)", [options.bytes]);
      const all: Page[] = [];
      let cursor: Cursor = {};
      for (let more = true; more; ) {
        const page = await pull(tx, { ...options, cursor });
        all.push(page);
        ({ cursor, has_more: more } = page);
      }
      return all;
    });
  /** One transaction that logs so many changes, faster than by a push. In: the table of change n. */
  const log = (who: string, count: number, table = "'tasks'") =>
    t.db.transaction(async (tx) => {
      await tx.query("insert into perch.space_heads (space_id, seq) values ('~' || $1, $2)", [who, count]);
      await tx.query(
        `insert into perch.sync_changes (space_id, seq, app_id, table_name, record_id, op, data, at, user_id)
         select '~' || $1, n, 'todo', ${table}, n, 'insert', '{}', now(), $1 from generate_series(1, $2::int) n`,
        [who, count],
      );
    });
  const sizes = (all: readonly Page[]) => all.map(({ changes }) => changes.length);

  it("have the number that the database gave them, the same for all they wrote", async () => {
    const me = nobody();
    const [own] = await as(me, async (tx) => {
      await push(tx, many(2));
      await push(tx, many(1));
      return tx.query<{ txid: string }>("select pg_current_xact_id()::text as txid");
    });
    await as(me, (tx) => push(tx, many(1)));
    const { changes } = await as(me, (tx) => pullAll(tx));
    expect(changes.map(({ txid }) => txid === own?.txid)).toEqual([true, true, true, false]);
    expect(changes[3]?.txid).toMatch(/^[0-9]+$/);
  });

  it("are never cut by a page, whatever its size", async () => {
    const me = nobody();
    const counts = [1, 4, 2, 1, 6, 3];
    for (const count of counts) await as(me, (tx) => push(tx, many(count)));
    for (let pageSize = 1; pageSize <= 18; pageSize += 1) {
      const all = await pages(me, { pageSize });
      expect(all.flatMap(({ changes }) => changes.map(({ seq }) => seq))).toEqual(many(17).map((_, n) => n + 1));
      const seen = new Set<string | null>();
      for (const page of all) {
        expect(page.unfinished).toBeUndefined();
        const here = new Set(page.changes.map(({ txid }) => txid));
        for (const txid of here) expect(seen.has(txid)).toBe(false);
        for (const txid of here) seen.add(txid);
      }
    }
    expect(sizes(await pages(me, { pageSize: 2 }))).toEqual([5, 2, 7, 3]);
  });

  it("are not cut where much of them is of other tables, or a page would be too long", async () => {
    const me = nobody();
    await log(me, 7000, "case when n % 2000 > 995 and n % 2000 < 1000 then 'tasks' else 'lists' end");
    await as(me, (tx) => push(tx, many(1)));
    expect(sizes(await pages(me, { pageSize: 1, tables: ["tasks"] }))).toEqual([16, 1]);

    const [you, text] = [nobody(), "x".repeat(20_000)];
    for (const count of [1, 2, 5, 1]) {
      await as(you, (tx) =>
        push(
          tx,
          many(count).map((change) => ({ ...change, data: { text } })),
        ),
      );
    }
    expect(sizes(await pages(you, { bytes: 90_000 }))).toEqual([3, 5, 1]);
  });

  it("that are larger than any page come in parts, each of which says so but the last", async () => {
    const me = nobody();
    await t.db.query("select perch.set_limit('max_page_bytes', 100000)");
    const text = "x".repeat(20_000);
    await as(me, (tx) => push(tx, many(1)));
    await as(me, (tx) =>
      push(
        tx,
        many(10).map((change) => ({ ...change, data: { text } })),
      ),
    );
    await as(me, (tx) => push(tx, many(1)));
    const all = await pages(me, {});
    await t.db.query("select perch.set_limit('max_page_bytes', null)");
    expect(sizes(all)).toEqual([1, 4, 4, 3]);
    const txid = all[1]?.changes[0]?.txid;
    expect(all.map(({ unfinished }) => unfinished)).toEqual([
      undefined,
      { space_id: `~${me}`, txid },
      { space_id: `~${me}`, txid },
      undefined,
    ]);
  });

  it("that wrote more changes than a page may have come in parts, and leave no others behind", async () => {
    const me = nobody();
    await log(me, 13_000);
    await as(me, (tx) => push(tx, many(1)));
    const all = await pages(me, { pageSize: 100 });
    expect(sizes(all)).toEqual([10_100, 2900, 1]);
    expect(all.map(({ unfinished }) => unfinished?.txid)).toEqual([all[0]?.changes[0]?.txid, undefined, undefined]);
  });

  it("from before they were noted are cut anywhere", async () => {
    const me = nobody();
    await as(me, (tx) => push(tx, many(5)));
    await t.db.query("update perch.sync_changes set txid = null where space_id = '~' || $1", [me]);
    const all = await pages(me, { pageSize: 2 });
    expect(sizes(all)).toEqual([2, 2, 1]);
    expect(all[0]?.changes[0]?.txid).toBeNull();
  });
});
