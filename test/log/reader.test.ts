/** What a service reads: chosen apps over all spaces, in one order (perch.read_log). */
import { beforeAll, expect, it } from "vitest";
import type { Queryable } from "../../src/database/types.js";
import { followLog, type LogAnswer, type LogSnapshotAnswer, readLog, readLogSnapshot } from "../../src/index.js";
import { describeEachEngine, describeEachPostgres, type TestDatabase } from "../support/databases.js";
import { sequence } from "../tables/support.js";
import { insert, push, remove, update } from "./support.js";

type Cursor = Record<string, unknown>;

/** All that there is behind a cursor, page by page. */
async function readAll(db: Queryable, reader: string, cursor: Cursor, pageSize = 1_000): Promise<LogAnswer> {
  const all: LogAnswer = { changes: [], cursor, has_more: true };
  while (all.has_more) {
    const page = await readLog(db, { reader, cursor: all.cursor, pageSize });
    all.changes.push(...page.changes);
    all.cursor = page.cursor;
    all.has_more = page.has_more;
  }
  return all;
}

async function takeSnapshot(db: Queryable, reader: string, pageSize = 1_000) {
  const pages: LogSnapshotAnswer[] = [];
  for (let after: string | null = null; ; ) {
    const page: LogSnapshotAnswer = await readLogSnapshot(db, { reader, after, pageSize });
    pages.push(page);
    after = page.next;
    if (after === null) break;
  }
  const records = pages.flatMap((page) => page.records.map(({ id }) => `${page.space_id} ${page.app_id} ${id}`));
  return { records, cursor: pages.at(-1)?.cursor as Cursor };
}

const idsOf = ({ changes }: LogAnswer) => changes.map(({ app_id, op, id }) => `${app_id} ${op} ${id}`);

describeEachEngine("A reader of a service", (open) => {
  let t: TestDatabase;
  let nth = 0;
  beforeAll(async () => {
    t = await open();
  });
  const register = async (apps: string, login: string | null = null) => {
    const reader = `reader${++nth}`;
    await t.db.query("select perch.register_reader(reader => $1, app_ids => $2, login => $3)", [reader, apps, login]);
    return reader;
  };
  const write = (user: string, app: string, ...changes: Parameters<typeof push>[1][]) =>
    t.asUser(user, (tx) => push(tx, changes, "laptop", app));

  it("is nobody until a DBA lets it be one, and begins with all records of its apps", async () => {
    await expect(readLog(t.db, { reader: "nobody" })).rejects.toMatchObject({ code: "PE403" });
    await write("ada", "r1", insert("a"), insert("gone"), remove("gone"));
    await write("bob", "r2", insert("b"), insert("c"));
    await write("bob", "private", insert("p"));
    const reader = await register("{r1,r2}");
    await expect(readLog(t.db, { reader })).rejects.toMatchObject({ code: "PE410", detail: { reason: "new" } });
    const { records, cursor } = await takeSnapshot(t.db, reader, 1);
    expect(records).toEqual(["~ada r1 a", "~bob r2 b", "~bob r2 c"]);
    expect(await readLog(t.db, { reader, cursor })).toMatchObject({ changes: [], has_more: false });

    await write("cyd", "r2", insert("d", { title: "D", body: "long" }));
    await write("ada", "private", insert("q"));
    await write("ada", "r1", update("a", { title: "A" }), remove("a"));
    const page = await readAll(t.db, reader, cursor);
    expect(idsOf(page)).toEqual(["r2 insert d", "r1 update a", "r1 delete a"]);
    expect(page.changes[0]).toMatchObject({ space_id: "~cyd", user_id: "cyd", data: { title: "D", body: "long" } });
    expect(idsOf(await readAll(t.db, reader, cursor, 1))).toEqual(idsOf(page));
    expect((await readLog(t.db, { reader, cursor, fields: { tasks: ["title"] } })).changes[0]?.data).toEqual({
      title: "D",
    });
    expect((await readLog(t.db, { reader, cursor, tables: ["notes"] })).changes).toEqual([]);
    expect((await readAll(t.db, reader, page.cursor)).changes).toEqual([]);
  });

  it("takes nobody's context away, and leaves none behind", async () => {
    const reader = await register("{ctx}");
    const { cursor } = await takeSnapshot(t.db, reader);
    await write("bob", "ctx", insert("b"));
    await t.asUser("ada", async (tx) => {
      const who = () => tx.query("select perch.current_user_id() as me, perch.current_space_ids() as spaces");
      const before = await who();
      expect((await readLog(tx, { reader, cursor })).changes).toHaveLength(1);
      await takeSnapshot(tx, reader);
      expect(await who()).toEqual(before);
    });
    const [row] = await t.db.query("select perch.current_user_id() as me");
    expect(row).toEqual({ me: null });
  });

  it("never gets half a transaction, and reads pushes of several spaces as one", async () => {
    const reader = await register("{whole}");
    const { cursor } = await takeSnapshot(t.db, reader);
    await t.asUser("ada", async (tx) => {
      await tx.query("select perch.create_space('whole')");
    });
    await t.asUser("ada", async (tx) => {
      await push(tx, [insert("1", {}, { space_id: "whole" }), insert("2")], "laptop", "whole");
      await push(tx, [insert("3", {}, { space_id: "whole" }), insert("4")], "laptop", "whole");
    });
    await write("bob", "whole", insert("5"));
    const first = await readLog(t.db, { reader, cursor, pageSize: 1 });
    expect(first.changes.map(({ id }) => id).sort()).toEqual(["1", "2", "3", "4"]);
    expect(new Set(first.changes.map(({ txid }) => txid)).size).toBe(1);
    expect(first.has_more).toBe(true);
    expect((await readLog(t.db, { reader, cursor: first.cursor })).changes.map(({ id }) => id)).toEqual(["5"]);
  });

  it("is given a long transaction in parts, and nothing twice", async () => {
    const reader = await register("{parts}");
    const { cursor } = await takeSnapshot(t.db, reader);
    await t.db.query("select perch.set_limit('max_page_bytes', 100000)");
    await t.asUser("ada", (tx) =>
      push(
        tx,
        [...Array(40).keys()].map((n) => insert(`p${n}`, { text: "x".repeat(10_000) })),
        "laptop",
        "parts",
      ),
    );
    const pages: number[] = [];
    const ids: string[] = [];
    let at = cursor;
    for (let more = true; more; ) {
      const page = await readLog(t.db, { reader, cursor: at });
      pages.push(page.changes.length);
      ids.push(...page.changes.map(({ id }) => id));
      at = page.cursor;
      more = page.has_more;
    }
    await t.db.query("select perch.set_limit('max_page_bytes', null)");
    expect(ids).toEqual([...Array(40).keys()].map((n) => `p${n}`));
    expect(Math.max(...pages)).toBeLessThan(10);
  });

  it("sees of tables with rules what a viewer of that name sees", async () => {
    await t.db.query(
      "create table public.cases (id text primary key, team text not null, title text, secret text, open boolean)",
    );
    await t.db.query(
      `select perch.sync_table('public.cases', 'cases', space_column => 'team', column_roles => '{"secret": ["owner"]}',
         row_filter => 'open or perch.current_user_id() = ''perch:reader:auditor''')`,
    );
    const reader = await register("{cases}");
    await t.db.query("select perch.register_reader('auditor', '{cases}')");
    await t.db.query(
      "insert into public.cases values ('0', 'law', 'old', 's', true), ('1', 'tax', 'hidden', 's', false)",
    );
    await sequence(t.db);
    const [some, all] = [await takeSnapshot(t.db, reader), await takeSnapshot(t.db, "auditor")];
    expect(some.records).toEqual(["law cases 0"]);
    expect(all.records).toEqual(["law cases 0", "tax cases 1"]);
    await t.db.query(
      "insert into public.cases values ('2', 'law', 'new', 's', true), ('3', 'law', 'hidden', 's', false)",
    );
    await t.db.query("update public.cases set secret = 't', title = 'newer' where id = '2'");
    await t.db.query("update public.cases set open = false where id = '2'");
    await sequence(t.db);
    const page = await readAll(t.db, reader, some.cursor);
    expect(page.changes.map(({ op, id, data }) => [op, id, data])).toEqual([
      ["insert", "2", { id: "2", team: "law", title: "new", open: true }],
      ["update", "2", { title: "newer" }],
      ["delete", "2", null],
    ]);
    expect(idsOf(await readAll(t.db, "auditor", all.cursor))).toEqual([
      "cases insert 2",
      "cases insert 3",
      "cases update 2",
      "cases update 2",
    ]);
  });

  it("is told to begin anew when the log was forgotten or the database went back, and when nobody noted what happened", async () => {
    const reader = await register("{back}");
    const { cursor } = await takeSnapshot(t.db, reader);
    await write("ada", "back", insert("a"));
    await write("ada", "back", insert("b"));
    const { cursor: end } = await readAll(t.db, reader, cursor);
    const lost = (reason: string) => ({ code: "PE410", detail: { reason } });
    await expect(readLog(t.db, { reader, cursor: { ...end, position: 1e6 } })).rejects.toMatchObject(lost("ahead"));
    await expect(readLog(t.db, { reader, cursor: { ...end, epoch: "other" } })).rejects.toMatchObject(lost("epoch"));
    await expect(readLog(t.db, { reader, cursor: { ...end, mark: "1" } })).rejects.toMatchObject(lost("epoch"));
    await expect(readLog(t.db, { reader: await register("{back}"), cursor: end })).rejects.toMatchObject({
      code: "PE422",
    });
    await t.asWorker((tx) => tx.query("select perch.prune_changes(keep_for => '0', keep_last => 0)"));
    await expect(readLog(t.db, { reader, cursor })).rejects.toMatchObject(lost("expired"));
    expect(await readLog(t.db, { reader, cursor: end })).toMatchObject({ changes: [] });
    await write("ada", "back", insert("c"));
    expect(idsOf(await readAll(t.db, reader, end))).toEqual(["back insert c"]);

    await t.db.query("select perch.register_reader(r.reader, null) from perch.readers r");
    await write("ada", "back", insert("unseen"));
    await expect(readLog(t.db, { reader, cursor: end })).rejects.toMatchObject({ code: "PE403" });
    await t.db.query("select perch.register_reader($1, '{back}')", [reader]);
    await expect(readLog(t.db, { reader, cursor: end })).rejects.toMatchObject({ code: "PE410" });
    expect((await takeSnapshot(t.db, reader)).records).toContain("~ada back unseen");
    const [row] = await t.db.query<{ by: string; lately: boolean }>(
      "select r.last_read_by as by, r.last_read_at > now() - interval '1 minute' as lately from perch.readers r where r.reader = $1",
      [reader],
    );
    expect(row).toMatchObject({ lately: true });
  });

  it("follows: all records, then what happens, and all records again when it cannot go on", async () => {
    const reader = await register("{live}");
    await write("ada", "live", insert("a"));
    const seen: string[] = [];
    let kept: Cursor = {};
    for await (const event of followLog(t.db, { reader, pollMs: 200 })) {
      if (event.type === "changes") seen.push(...event.changes.map(({ op, id }) => `${op} ${id}`));
      else seen.push(event.type === "resync" ? "resync" : `${event.records.map(({ id }) => id)} ${event.last}`);
      if (event.type === "snapshot" && event.last) await write("bob", "live", insert("b"));
      if (event.type === "changes") {
        kept = event.cursor;
        break;
      }
    }
    expect(seen).toEqual(["resync", "a false", " true", "insert b"]);
    await write("cyd", "live", insert("c"));
    for await (const event of followLog(t.db, { reader, cursor: kept })) {
      expect(event).toMatchObject({ type: "changes", changes: [{ id: "c", space_id: "~cyd" }] });
      break;
    }
  });
});

describeEachPostgres("A snapshot for a service", (open) => {
  it("looks for the spaces of rows as fast as their table is read, and misses none", async () => {
    const t = await open();
    await t.db.transaction((tx) =>
      tx.script(`
        create table lines (id int primary key, team text, pad text);
        insert into lines select i, 'team' || i % 1000, repeat('x', 100) from generate_series(1, 60000) i;
        create table sums (id int primary key, n numeric, pad text);
        insert into sums values (1, 1.0, ''), (2, 1.00, ''), (3, null, '');
        create table parts (id int primary key, n int);
        insert into parts values (1, 0), (2, 3);
        select perch.sync_table('lines', 'r', space_column => 'team');
        select perch.sync_table('sums', 'r', space_column => 'n');
        select perch.sync_table('parts', 'r', space_expression => '''part'' || 6 / n');`),
    );
    const spaces = async (after: string) => {
      const [row] = await t.db.query<{ spaces: string[] }>("select perch.spaces_after('{r}', $1, 100) as spaces", [
        after,
      ]);
      return row?.spaces ?? [];
    };
    const all: string[] = [];
    for (let more = await spaces(""); more.length > 0; more = await spaces(all.at(-1) as string)) all.push(...more);
    expect(all).toEqual(["1.0", "1.00", "part2", ...Array.from({ length: 1000 }, (_, n) => `team${n}`).sort()]);
    const fastest = async (work: () => Promise<unknown>) => {
      const took: number[] = [];
      for (let nth = 0; nth < 5; nth++) {
        const began = performance.now();
        await work();
        took.push(performance.now() - began);
      }
      return Math.min(...took);
    };
    const read = await fastest(() => t.db.query(`select count(distinct team collate "C") from lines`));
    expect(await fastest(() => spaces("u"))).toBeLessThan(3 * read);
  });
});

describeEachPostgres("A reader of a service beside writers", (open) => {
  it("misses nothing of transactions that commit late, and has each space in its order", async () => {
    const t = await open();
    await t.db.query("select perch.register_reader('search', '{todo}')");
    const { cursor } = await takeSnapshot(t.db, "search");
    const written = new Set<string>();
    const late = new Set<string>();
    let isOver = false;
    const seen: { space: string; seq: number; id: string }[] = [];
    const read = async () => {
      // What gets its number by a read, where no worker gives it, is noted with that read's commit: the next one has it.
      for (let at = cursor, more = 2; more > 0; ) {
        if (isOver) more -= 1;
        const page = await readAll(t.db, "search", at, 7);
        at = page.cursor;
        seen.push(...page.changes.map(({ space_id, seq, id }) => ({ space: space_id, seq, id })));
      }
    };
    const writer = async (nth: number) => {
      for (let n = 0; n < 25; n++) {
        const id = `${nth}-${n}`;
        await t.asUser(`user${(nth + n) % 3}`, async (tx) => {
          const [result] = await push(tx, [insert(id)]);
          if (result?.seq === null) late.add(id);
          if (n % 3 === 0) await tx.query("select pg_sleep(0.02 * random())");
        });
        written.add(id);
      }
    };
    const reading = read();
    await Promise.all([0, 1, 2, 3, 4].map(writer));
    isOver = true;
    await reading;
    expect(seen.map(({ id }) => id).sort()).toEqual([...written].sort());
    for (const space of new Set(seen.map((one) => one.space))) {
      const seqs = seen.filter((one) => one.space === space).map(({ seq }) => seq);
      expect(seqs).toEqual([...seqs].sort((a, b) => a - b));
    }
    // What one writer did, whichever the space, is in the order in which it did it; but for what got its number later.
    for (const nth of [0, 1, 2, 3, 4]) {
      const own = seen.filter(({ id }) => id.startsWith(`${nth}-`) && !late.has(id)).map(({ id }) => id);
      expect(own).toEqual([...own].sort((a, b) => Number(a.slice(2)) - Number(b.slice(2))));
    }
  });

  it("goes on while it reads the same apps, and begins anew when they are others, or when it comes back", async () => {
    const t = await open();
    const register = (apps: string | null) => t.db.query("select perch.register_reader('search', $1)", [apps]);
    await register("{todo}");
    // Nothing was logged yet: no entry tells that the order began anew.
    const { cursor: first } = await takeSnapshot(t.db, "search");
    await register("{todo}");
    expect((await readAll(t.db, "search", first)).changes).toEqual([]);
    await register(null);
    await t.asUser("ada", (tx) => push(tx, [insert("unnoted")]));
    await register("{todo}");
    const anew = { code: "PE410", detail: { reason: "new" } };
    await expect(readLog(t.db, { reader: "search", cursor: first })).rejects.toMatchObject(anew);
    const page = await readLogSnapshot(t.db, { reader: "search" });
    await register("{notes,todo}");
    await expect(readLog(t.db, { reader: "search", cursor: page.cursor })).rejects.toMatchObject(anew);
    await expect(readLogSnapshot(t.db, { reader: "search", after: page.next })).rejects.toMatchObject(anew);
    expect((await takeSnapshot(t.db, "search")).records).toEqual(["~ada todo unnoted"]);
    for (const after of ['{"0": {"reader": "search"}}', '[{"reader": "search"}, "", 1, 1, null]', "1"]) {
      const given = readLogSnapshot(t.db, { reader: "search", after: Buffer.from(after).toString("base64") });
      await expect(given).rejects.toMatchObject({ code: "PE422" });
    }
  });

  it("comes and goes while nobody gives places", async () => {
    const t = await open();
    const other = await t.connect();
    await t.db.query("select perch.register_reader('search', '{todo}')");
    const { cursor } = await takeSnapshot(t.db, "search");
    await t.asUser("ada", (tx) => push(tx, [insert("a")]));
    await t.db.transaction(async (tx) => {
      expect((await readLog(tx, { reader: "search", cursor })).changes).toHaveLength(1);
      const coming = other.transaction(async (later) => {
        await later.query("set local lock_timeout = 200");
        await later.query("select perch.register_reader('earlier', '{todo}')");
      });
      await expect(coming).rejects.toMatchObject({ code: "55P03" });
    });
  });

  it("begins with all spaces, however many, also those of rows that nothing was logged of", async () => {
    const t = await open();
    await t.db.query("create table public.desks (id int primary key, room text not null)");
    await t.db.query("insert into public.desks select n, 'room' || n from generate_series(1, 230) n");
    await t.db.query("select perch.sync_table('public.desks', 'office', space_column => 'room')");
    await t.db.query("select perch.register_reader('search', '{office}')");
    const { records } = await takeSnapshot(t.db, "search");
    expect(records.sort()).toEqual([...Array(230).keys()].map((n) => `room${n + 1} office ${n + 1}`).sort());
  });

  it("may be a login that has nothing else, and then nobody but that", async () => {
    const t = await open();
    const other = await t.login("perch_app");
    const service = await t.login("stranger");
    const [row] = await service.query<{ me: string }>("select current_user as me");
    await t.db.query("select perch.register_reader('search', '{todo}', login => $1)", [row?.me]);
    await t.asUser("ada", (tx) => push(tx, [insert("a")]));
    expect((await takeSnapshot(service, "search")).records).toEqual(["~ada todo a"]);
    await expect(readLogSnapshot(other, { reader: "search" })).rejects.toMatchObject({ code: "PE403" });
    await expect(service.query("select perch.set_context('ada')")).rejects.toMatchObject({ code: "42501" });
    await expect(service.query("select * from perch.sync_changes")).rejects.toMatchObject({ code: "42501" });
    await t.db.query("select perch.register_reader('search', null)");
    await expect(readLogSnapshot(service, { reader: "search" })).rejects.toMatchObject({ code: "42501" });
  });
});
