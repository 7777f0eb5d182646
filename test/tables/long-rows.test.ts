/** Rows that are far longer than what changes in them, and than they are as they are stored: what is read of them is bounded by what is looked at. */
import { beforeAll, expect, it } from "vitest";
import { type LogAnswer, type LogSnapshotAnswer, readLog, readLogSnapshot } from "../../src/index.js";
import { makeSpace } from "../gateway/support.js";
import { type Cursor, type Entry, type Page, pull } from "../log/support.js";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";
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
