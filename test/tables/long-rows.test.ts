/** Rows that are far longer than what changes in them, and than they are as they are stored: what is read of them is bounded by what is looked at. */
import { beforeAll, expect, it } from "vitest";
import { type LogAnswer, type LogSnapshotAnswer, readLog, readLogSnapshot } from "../../src/index.js";
import { readFilter } from "../../src/shapes/filter.js";
import type { Snapshot } from "../../src/shapes/handle.js";
import { logMoment, readRows } from "../../src/shapes/queries.js";
import { makeSpace } from "../gateway/support.js";
import { type Cursor, type Entry, type Page, pull } from "../log/support.js";
import { operations } from "../shapes/support.js";
import { describeBothKinds, describeEachEngine, type TestDatabase } from "../support/databases.js";
import { sequence, syncTable } from "./support.js";

const rowBytes = 400_000;
/** A page looks at four times what it may say: with the row before and after, this many updates. */
const pageBytes = 1_000_000;
const updatesOfPage = Math.floor((4 * pageBytes) / (2 * rowBytes));
const updates = 20;

describeEachEngine("the log of a long row", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await t.db.query("select perch.set_limit(name => 'max_page_bytes', value => $1)", [pageBytes]);
    await makeSpace(t, "team", "ada", { vera: "viewer" });
    await t.db.query("create table articles (id int primary key, team text, tag text, body text)");
    await syncTable(t.db, "articles", `space_column => 'team', row_filter => $f$perch.current_user_id() <> 'vera'$f$`);
    // Whoever registers it begins behind what is there.
    await t.db.query("select perch.register_reader(reader => 'search', app_ids => '{shop}')");
  });

  /** Changes one short column again and again. Out: what readers are to be given. */
  async function retag(id: number, inOneTransaction: boolean): Promise<string[]> {
    await t.db.query("insert into articles values ($1, 'team', 'new', repeat('a', $2::int))", [id, rowBytes]);
    const tags = Array.from({ length: updates }, (_, n) => `${id} ${n}`);
    const set = "update articles set tag = $2 where id = $1";
    if (inOneTransaction) {
      await t.db.transaction(async (tx) => {
        for (const tag of tags) await tx.query(set, [id, tag]);
      });
    } else for (const tag of tags) await t.db.query(set, [id, tag]);
    await sequence(t.db);
    return tags;
  }

  const tagsOf = (changes: readonly Pick<Entry, "op" | "data">[]) =>
    changes.flatMap(({ op, data }) => (op === "update" ? [data?.tag] : []));

  async function pages(user: string, from: Cursor): Promise<Page[]> {
    const read: Page[] = [];
    for (let cursor = from, more = true; more; ) {
      const page = await t.asUser(user, (tx) => pull(tx, { appId: "shop", cursor, pageSize: 10_000 }));
      read.push(page);
      cursor = page.cursor;
      more = page.has_more;
    }
    return read;
  }
  const endOf = async (user: string) => (await pages(user, {})).at(-1)?.cursor ?? {};

  it.each([false, true])("comes in pages that look at no more than has room, in one transaction: %s", async (inOne) => {
    const before = await endOf("ada");
    const tags = await retag(inOne ? 2 : 1, inOne);
    const read = await pages("ada", before);
    expect(read.flatMap(({ changes }) => tagsOf(changes))).toEqual(tags);
    for (const { changes } of read) expect(changes.length).toBeLessThanOrEqual(updatesOfPage + 1);
    // Where a page ends within a transaction it says so.
    const within = read.map(({ unfinished }) => unfinished !== undefined);
    expect(within.filter(Boolean).length > 0).toBe(inOne);
    expect(within.at(-1)).toBe(false);
  });

  it("moves a reader on who sees nothing of it", async () => {
    const before = await endOf("vera");
    await retag(3, false);
    const read = await pages("vera", before);
    expect(read.flatMap(({ changes }) => changes)).toEqual([]);
    expect(read.length).toBeGreaterThan(updates / (updatesOfPage + 1));
    expect(read.at(-1)?.cursor.spaces).toEqual((await endOf("vera")).spaces);
  });

  it("comes to a service in such pages", async () => {
    let cursor: Cursor = {};
    for (let after: string | null = null; ; ) {
      const page: LogSnapshotAnswer = await readLogSnapshot(t.db, { reader: "search", after, pageSize: 1_000 });
      after = page.next;
      if (page.cursor !== null) cursor = page.cursor;
      if (after === null) break;
    }
    const tags = [...(await retag(4, false)), ...(await retag(5, true))];
    const read: LogAnswer[] = [];
    for (let more = true; more; ) {
      const page = await readLog(t.db, { reader: "search", cursor, pageSize: 10_000 });
      read.push(page);
      cursor = page.cursor;
      more = page.has_more;
    }
    expect(read.flatMap(({ changes }) => tagsOf(changes))).toEqual(tags);
    for (const { changes } of read) expect(changes.length).toBeLessThanOrEqual(updatesOfPage + 1);
  });
});

describeEachEngine("a shape of long rows", (open) => {
  let t: TestDatabase;
  let after = 0;
  const looks = async () => (await t.db.query<{ n: number }>("select last_value::int as n from looks"))[0]?.n ?? 0;

  beforeAll(async () => {
    t = await open();
    // Each look at a row, as it was or as it is, is counted.
    await t.db.transaction((tx) =>
      tx.script(`
        create sequence looks;
        grant usage on sequence looks to public;
        create domain looked_at as text check (nextval('public.looks') > 0);
        create table articles (id int primary key, team text, tag looked_at, body text);`),
    );
    await syncTable(t.db, "articles", "space_column => 'team'");
    await t.db.query("insert into articles values (1, '~ada', 'new', repeat('a', $1::int))", [rowBytes]);
    await sequence(t.db);
    after = (await t.db.query<{ at: number }>("select perch.log_position()::int as at"))[0]?.at ?? 0;
    for (let n = 0; n < updates; n++) await t.db.query("update articles set tag = $1 where id = 1", [`${n}`]);
    await sequence(t.db);
  });

  interface ShapePage {
    messages: string[];
    lsn: number;
    op: number;
    is_end: boolean;
  }
  const page = (lsn: number, op: number, maxBytes: number) =>
    t.asUser("ada", async (tx) => {
      const [row] = await tx.query<ShapePage>(
        `select to_jsonb(c.messages) as messages, c.lsn::int, c.op::int, c.is_end
           from perch.shape_changes('public', 'articles', after_lsn => $1, after_op => $2, max_bytes => $3) c`,
        [lsn, op, maxBytes],
      );
      return row as ShapePage;
    });

  it("ends a page where it has looked at four times as much as it may say, and looks at nothing behind", async () => {
    const maxBytes = rowBytes;
    const before = await looks();
    const first = await page(after, 0, maxBytes);
    expect(first.messages).toHaveLength(2);
    // Once before and once after, and the entry at which it ended.
    expect((await looks()) - before).toBeLessThanOrEqual(2 * (2 + 1));

    const tags: unknown[] = [];
    for (let at: ShapePage | undefined; at?.is_end !== true; ) {
      at = await page(at?.lsn ?? after, at?.op ?? 0, maxBytes);
      tags.push(...at.messages.map((message) => JSON.parse(message).value.tag));
    }
    expect(tags).toEqual(Array.from({ length: updates }, (_, n) => `${n}`));
  });

  it("is not tried for many readers together where the rows of a look are too long", async () => {
    const matches = async (from: number, upto: number) => {
      const filter = JSON.stringify([
        "op",
        "=",
        [
          ["column", "id"],
          ["value", "0"],
        ],
      ]);
      return t.asWorker(async (tx) => {
        const [row] = await tx.query<{ matches: boolean[] }>(
          `select perch.shape_matches('public', 'articles', 'shop', 'articles', $1, $2, array[$3::jsonb]) as matches`,
          [from, upto, filter],
        );
        return row?.matches;
      });
    };
    expect(await matches(after, after + updates)).toEqual([false]);
    for (let n = 0; n < updates; n++) await t.db.query("update articles set tag = $1 where id = 1", [`more ${n}`]);
    await sequence(t.db);
    const before = await looks();
    // Each is to look for itself.
    expect(await matches(after, after + 2 * updates)).toEqual([true]);
    expect(await looks()).toBe(before);
  });
});

/** Behind it no more rows are held together, as they are unpacked. */
const heldBytes = 32 * 1024 * 1024;
const manyRows = Math.ceil(heldBytes / rowBytes) + 20;

describeBothKinds("many long rows", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await t.db.query("create table articles (id int primary key, team text, tag text, body text)");
    await t.db.query("create table tags (tag text primary key, team text, body text)");
    await syncTable(t.db, "articles", "space_column => 'team', writable_columns => '{tag}'");
    await syncTable(t.db, "tags", "space_column => 'team'");
    const long = `repeat('a', ${rowBytes})`;
    await t.db.query(`insert into articles select n, '~ada', 'new', ${long} from generate_series(1, $1::int) n`, [
      manyRows,
    ]);
    await t.db.query(`insert into tags select n::text, '~ada', ${long} from generate_series(1, $1::int) n`, [manyRows]);
    await sequence(t.db);
  });

  it("are changed by one push, and deleted, no more of them at once than are held", async () => {
    const ids = Array.from({ length: manyRows }, (_, n) => `${n + 1}`);
    const [found] = await t.db.query<{ given: number; all: number }>(
      `select cardinality(f.rows_there) as given, cardinality(f.locked) as all
         from perch.synced_relations r
        cross join lateral perch.find_rows(r, '{id}', array(select jsonb_build_object('id', i) from unnest($1::text[]) i),
                                           to_lock => true, is_new => false) f
        where r.table_name = 'articles'`,
      [ids],
    );
    expect(found?.all).toBe(manyRows);
    expect(found?.given).toBe(Math.floor(heldBytes / (rowBytes + 100)));

    const push = (op: string, more: object, nobody: string) =>
      t.asUser("ada", async (tx) => {
        const changes = [...ids, nobody].map((id) => ({ op, table: "articles", id, space_id: "~ada", ...more }));
        const [row] = await tx.query<{ results: { status: string; error?: { code: string } }[] }>(
          "select perch.push(app_id => 'shop', client_id => 'c', changes => $1) -> 'results' as results",
          [JSON.stringify(changes)],
        );
        return row?.results.map(({ status, error }) => error?.code ?? status);
      });
    const applied = ids.map(() => "applied");
    expect(await push("update", { data: { tag: "old" } }, "0")).toEqual([...applied, "PE404"]);
    expect(await t.db.query("select tag, count(*)::int as n from articles group by tag")).toEqual([
      { tag: "old", n: manyRows },
    ]);
    await sequence(t.db);
    expect(await push("delete", {}, "no number")).toEqual([...applied, "PE422"]);
    expect(await t.db.query("select from articles")).toEqual([]);
  });

  it("are looked at by a filter's sub-select, as they were, no more of them at once than are held", async () => {
    const filter = await readFilter("tag in (select tag from tags)", {}, "articles");
    const at = async () => (await t.db.query<{ at: number }>("select perch.log_position()::int as at"))[0]?.at ?? 0;
    const told = (sql: string, params: unknown[]) =>
      t
        .asUser("ada", (tx) => tx.query(sql, [JSON.stringify(filter), ...params]))
        .then(
          () => "told",
          (error: { code?: string; message: string }) => error.code ?? error.message,
        );
    const rows = (since: number, snapshot: string) =>
      told(
        `select * from perch.shape_rows('public', 'articles', $1::jsonb, since_position => $2, since_snapshot => $3)`,
        [since, snapshot],
      );
    const changes = (since: number, snapshot: string) =>
      told("select * from perch.shape_changes('public', 'articles', $2, 0, $1::jsonb, since_snapshot => $3)", [
        since,
        snapshot,
      ]);
    const snapshot = async () =>
      (await t.db.query<{ s: string }>("select pg_current_snapshot()::text as s"))[0]?.s ?? "";

    const [since, before] = [await at(), await snapshot()];
    const few = Math.floor(manyRows / 2);
    await t.db.query("update tags set team = team, body = body || 'b' where tag::int <= $1", [few / 2]);
    await sequence(t.db);
    expect([await rows(since, before), await changes(since, before)]).toEqual(["told", "told"]);
    await t.db.query("update tags set team = team, body = body || 'c'");
    await sequence(t.db);
    expect([await rows(since, before), await changes(since, before)]).toEqual(["PE410", "PE410"]);
    const [later, then] = [await at(), await snapshot()];
    expect([await rows(later, then), await changes(later, then)]).toEqual(["told", "told"]);
    // What one row was, again and again.
    for (let n = 0; n < manyRows; n++) await t.db.query("update tags set body = body || 'd' where tag = '1'");
    await sequence(t.db);
    expect([await rows(later, then), await changes(later, then)]).toEqual(["told", "PE410"]);
  });

  it("come to a shape as they were when it began, no more of them in a chunk than it may be long", async () => {
    const before = await t.db.query<{ tag: string }>("select tag from tags order by tag");
    const since = (await logMoment(t.db)).position;
    const shape = { schema: "public", table: "tags", filter: null, columns: null };
    const maxBytes = 4_000_000;
    const chunk = (key: readonly string[] | null, snapshot: Snapshot | undefined) =>
      t.asUser("ada", (tx) => readRows(tx, shape, { key, since, snapshot, maxBytes }));
    const first = await chunk(null, undefined);
    await t.db.query("update tags set body = 'short' where tag <> '50'");
    await t.db.query("delete from tags where tag = '51'");
    const told = operations(first);
    for (let { lastKey } = first; lastKey !== null; ) {
      const next = await chunk(lastKey, first.snapshot);
      lastKey = next.lastKey;
      const rows = operations(next);
      expect(rows.length * rowBytes).toBeLessThanOrEqual(2 * maxBytes + rowBytes);
      told.push(...rows);
    }
    expect(told.map(({ value }) => value.tag).sort()).toEqual(before.map(({ tag }) => tag).sort());
    expect(told.filter(({ value }) => (value.body ?? "").length < rowBytes)).toEqual([]);
  });
});
