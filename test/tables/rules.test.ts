import pg from "pg";
import { beforeAll, expect, it } from "vitest";
import type { Transaction } from "../../src/database/types.js";
import { PerchError } from "../../src/errors.js";
import type { Change, Cursor, Entry, Page, Result, Snapshot } from "../log/support.js";
import { describeEachEngine, describeEachPostgres, type TestDatabase } from "../support/databases.js";
import { sequence } from "./support.js";

const schema = `
create schema hr;
create table hr.people (
  id int primary key, team text not null, boss text, name text not null, salary numeric, note text, level text, spoken text generated always as (upper(name)) stored
);
create table hr.helpers (person int, helper text, primary key (person, helper));
create table hr.seen_by (id text primary key, team text not null, title text);
`;
const people = {
  columns: "space_column => 'team', writable_columns => '{boss,name,salary,note,level}'",
  rules: `row_filter => 'boss in (perch.current_user_id(), ''all'') or level::int > 8', column_roles => '{"salary": ["owner"]}'`,
};

describeEachEngine("Rules of a synced table", (open) => {
  let t: TestDatabase;
  let nth = 0;
  beforeAll(async () => {
    t = await open();
    await t.db.transaction((tx) => tx.script(schema));
    await t.db.query(`select perch.sync_table('hr.people', 'hr', ${people.columns}, ${people.rules})`);
  });

  /** A team with olga, who owns it, eddy, who edits, and vera, who views. */
  async function team() {
    const space = `team${++nth}`;
    const as = <T>(user: string, work: (tx: Transaction) => Promise<T>) => t.asUser(user, work);
    await as("olga", async (tx) => {
      await tx.query("select perch.create_space($1)", [space]);
      await tx.query("select perch.set_space_member($1, 'eddy', 'editor')", [space]);
      await tx.query("select perch.set_space_member($1, 'vera', 'viewer')", [space]);
    });
    const base = nth * 100;
    return {
      space,
      id: (n: number) => base + n,
      as,
      hire: (n: number, boss: string, more = "") =>
        t.db.query(
          `insert into hr.people (id, team, boss, name, salary, note) values ($1, $2, $3, 'Somebody', 1000, 'hello') ${more}`,
          [base + n, space, boss],
        ),
      change: (n: number, set: string) => t.db.query(`update hr.people set ${set} where id = $1`, [base + n]),
      fire: (n: number) => t.db.query("delete from hr.people where id = $1", [base + n]),
      pull: async (user: string, cursor: Cursor = {}, pageSize = 1000) => {
        await sequence(t.db);
        return as(user, async (tx) => {
          const [row] = await tx.query<{ page: Page }>(
            "select perch.pull(app_id => 'hr', cursor => $1::jsonb, page_size => $2) as page",
            [JSON.stringify(cursor), pageSize],
          );
          if (row === undefined) throw new Error("no page");
          return row.page;
        });
      },
      snapshot: (user: string, pageSize = 1000) =>
        as(user, async (tx) => {
          const records: Snapshot["records"] = [];
          for (let after: string | null = null; ; ) {
            const [row]: { page: Snapshot }[] = await tx.query<{ page: Snapshot }>(
              "select perch.snapshot_records(app_id => 'hr', space_id => $1, after => $2, page_size => $3) as page",
              [space, after, pageSize],
            );
            if (row === undefined) throw new Error("no snapshot");
            records.push(...row.page.records);
            after = row.page.next;
            if (after === null) return { records, cursor: row.page.cursor };
          }
        }),
      push: (user: string, changes: Change[]) =>
        as(user, async (tx) => {
          const [row] = await tx.query<{ answer: { results: Result[] } }>(
            "select perch.push(app_id => 'hr', changes => $1::jsonb, client_id => 'phone') as answer",
            [JSON.stringify(changes.map((change) => ({ space_id: space, table: "people", ...change })))],
          );
          return row?.answer.results ?? [];
        }),
    };
  }

  const lines = (page: Page, space: string) =>
    page.changes
      .filter((one) => one.space_id === space)
      .map(
        (one: Entry) =>
          `${one.op} ${Number(one.id) % 100} ${one.data === null ? "-" : Object.keys(one.data).sort().join()}`,
      );
  const all = "boss,id,level,name,note,spoken,team";
  const withSalary = "boss,id,level,name,note,salary,spoken,team";

  it("a row that comes into sight is inserted, one that leaves is deleted without content, one never in sight is nothing", async () => {
    const { space, hire, change, fire, pull } = await team();
    await hire(1, "eddy");
    await hire(2, "vera");
    await change(1, "note = 'changed'");
    await change(2, "note = 'changed', boss = 'eddy'");
    await change(2, "salary = 2000");
    await change(1, "boss = 'vera', note = 'secret'");
    await change(1, "note = 'more secret'");
    await fire(1);
    await fire(2);
    expect(lines(await pull("eddy"), space)).toEqual([
      `insert 1 ${all}`,
      "update 1 note",
      `insert 2 ${all}`,
      "delete 1 -",
      "delete 2 -",
    ]);
    expect(lines(await pull("vera"), space)).toEqual([
      `insert 2 ${all}`,
      "delete 2 -",
      `insert 1 ${all}`,
      "update 1 note",
      "delete 1 -",
    ]);
    expect(lines(await pull("olga"), space)).toEqual([]);
  });

  it("columns are seen by members of the roles they name, in pages and snapshots", async () => {
    const { space, hire, change, pull, snapshot } = await team();
    await hire(1, "all");
    await change(1, "salary = 2000");
    await change(1, "salary = 3000, note = 'rise'");
    expect(lines(await pull("olga"), space)).toEqual([
      `insert 1 ${withSalary}`,
      "update 1 salary",
      "update 1 note,salary",
    ]);
    expect(lines(await pull("eddy"), space)).toEqual([`insert 1 ${all}`, "update 1 note"]);
    expect(lines(await pull("vera"), space)).toEqual([`insert 1 ${all}`, "update 1 note"]);
    const [forOlga] = (await snapshot("olga")).records;
    expect(forOlga?.data).toMatchObject({ salary: 3000 });
    const [forVera] = (await snapshot("vera")).records;
    expect(
      Object.keys(forVera?.data ?? {})
        .sort()
        .join(),
    ).toBe(all);
  });

  it("a snapshot has what is in sight, a page with nothing to see goes on, and pulling goes on from it", async () => {
    const { space, id, hire, change, pull, snapshot } = await team();
    for (let n = 1; n <= 20; n++) await hire(n, n % 7 === 0 ? "vera" : "eddy");
    await sequence(t.db);
    const { records, cursor } = await snapshot("vera", 3);
    expect(records.map((one) => one.id)).toEqual([id(7), id(14)].map(String));
    await change(7, "boss = 'eddy'");
    await change(8, "boss = 'vera'");
    expect(lines(await pull("vera", cursor), space)).toEqual(["delete 7 -", `insert 8 ${all}`]);
    const seen: string[] = [];
    let pages = 0;
    for (let at: Cursor = {}, more = true; more; pages++) {
      const page = await pull("vera", at, 2);
      seen.push(...lines(page, space));
      at = page.cursor;
      more = page.has_more;
    }
    expect(seen).toEqual([`insert 7 ${all}`, `insert 14 ${all}`, "delete 7 -", `insert 8 ${all}`]);
    expect(pages).toBeGreaterThan(5);
  });

  it("a member whose role changes begins that space anew", async () => {
    const { space, hire, pull, as } = await team();
    await hire(1, "all");
    const { cursor } = await pull("eddy");
    await as("olga", (tx) => tx.query("select perch.set_space_member($1, 'eddy', 'owner')", [space]));
    const refused = await pull("eddy", cursor).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(PerchError);
    expect(refused).toMatchObject({
      code: "PE410",
      detail: { spaces: [{ space_id: space, reason: "epoch", cause: "role" }] },
    });
    expect(lines(await pull("eddy"), space)).toEqual([`insert 1 ${withSalary}`]);
  });

  it("a row for which the filter fails is left out, and doctor names it", async () => {
    const { space, id, hire, change, pull, snapshot } = await team();
    await hire(1, "vera");
    await hire(2, "vera");
    await change(1, "level = 'nine'");
    await change(2, "level = '9'");
    expect(lines(await pull("olga"), space)).toEqual([`insert 2 ${all.replace("note,", "note,salary,")}`]);
    expect((await snapshot("olga")).records.map((one) => one.id)).toEqual([String(id(2))]);
    const problems = async () => {
      const [row] = await t.asWorker((tx) =>
        tx.query<{ problems: string[] }>("select problems from perch.synced_tables where table_name = 'people'"),
      );
      return row?.problems;
    };
    expect(await problems()).toEqual([
      expect.stringMatching(new RegExp(`row_filter fails for 1 of the \\d+ rows .*${id(1)} \\(22P02\\)`)),
    ]);
    await change(1, "level = null");
    expect(await problems()).toEqual([]);
  });

  it("what a client may not see it may not write, and is told of as if it were not there", async () => {
    const { id, hire, push, pull } = await team();
    await hire(1, "eddy");
    await hire(2, "vera");
    const answers = async (user: string, ...changes: Change[]) =>
      (await push(user, changes)).map(({ status, error }) => error?.code ?? status);
    const nowhere = String(id(99));
    const there = String(id(2));
    const told = async (row: string) => {
      const results = await push("eddy", [
        { op: "update", id: row, data: { note: "mine" } },
        { op: "delete", id: row },
      ]);
      return JSON.parse(
        JSON.stringify(results)
          .replaceAll(row, "the row")
          .replaceAll(/"txid":"\d+"/g, '"txid":""'),
      );
    };
    expect(await told(there)).toEqual(await told(nowhere));
    expect(await t.db.query("select note, boss from hr.people where id = $1", [id(2)])).toEqual([
      { note: "hello", boss: "vera" },
    ]);
    expect(await answers("eddy", { op: "insert", id: there, data: { name: "taken" } })).toEqual(["PE409"]);
    expect(await answers("eddy", { op: "update", id: String(id(1)), data: { salary: 5 } })).toEqual(["PE403"]);
    expect(await answers("eddy", { op: "update", id: String(id(1)), data: { nothing: 5 } })).toEqual(["PE403"]);
    expect(await answers("eddy", { op: "update", id: String(id(1)), data: { boss: "vera" } })).toEqual(["PE403"]);
    expect(await answers("eddy", { op: "insert", id: String(id(3)), data: { name: "new", boss: "vera" } })).toEqual([
      "PE403",
    ]);
    expect(
      await answers(
        "eddy",
        { op: "insert", id: String(id(3)), data: { name: "new", boss: "eddy" } },
        { op: "update", id: String(id(1)), data: { note: "ok" } },
      ),
    ).toEqual(["applied", "applied"]);
    expect(await answers("eddy", { op: "delete", id: String(id(1)) })).toEqual(["applied"]);
    expect(
      await t.db.query("select id - $1::int as n from hr.people where id / 100 = $1::int / 100 order by id", [id(0)]),
    ).toEqual([{ n: 2 }, { n: 3 }]);
    // A stamp of a deletion that was none would make later writes of others lose.
    expect(await answers("vera", { op: "update", id: there, data: { note: "mine" } })).toEqual(["PE403"]);
    expect((await pull("eddy")).changes.length).toBeGreaterThan(0);
  });

  it("whoever selects from the log itself, or takes along what they wrote, sees no more than by pulling", async () => {
    const { space, id, hire, as, push } = await team();
    await push("eddy", [{ op: "insert", id: String(id(1)), data: { name: "Ann", boss: "eddy" } }]);
    await push("eddy", [{ op: "insert", id: String(id(2)), data: { name: "Bob", boss: "eddy" } }]);
    await hire(3, "all");
    await t.db.query("update hr.people set salary = 777 where id = $1", [id(1)]);
    // In eddy's name, as a trigger or a mutator does.
    await t.db.transaction(async (tx) => {
      await tx.query("select perch.set_context('eddy')");
      await tx.query("update hr.people set boss = 'vera', note = 'hidden' where id = $1", [id(2)]);
      await tx.query("update hr.people set note = 'hidden', salary = 666 where id = $1", [id(2)]);
      await tx.query("update hr.people set salary = 888 where id = $1", [id(1)]);
    });
    await sequence(t.db);
    expect(await as("olga", (tx) => tx.query("select * from perch.sync_changes where space_id = $1", [space]))).toEqual(
      [],
    );
    const own = await as("eddy", (tx) =>
      tx.query<{ change: Entry }>("select e as change from perch.export_changes() e"),
    );
    const mine = own.map(({ change }) => change).filter((one) => one.space_id === space);
    expect(
      mine.map(({ op, id: key, data }) => `${op} ${Number(key) - id(0)} ${Object.keys(data ?? {}).sort()}`),
    ).toEqual([`insert 1 ${all}`, `insert 2 ${all}`, "delete 2 ", "update 1 "]);
  });
});

describeEachEngine("Rules that change", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await t.db.transaction((tx) => tx.script(schema));
  });

  const sync = (options: string) =>
    t.db.query(`select perch.sync_table('hr.seen_by', 'hr', space_column => 'team', ${options})`);
  const asNina = <T>(work: (tx: Transaction) => Promise<T>) =>
    t.db.transaction(async (tx) => {
      await tx.query("set local role perch_app");
      await tx.query("select perch.set_context('nina', '{north}')");
      return work(tx);
    });
  const pull = async (cursor: Cursor = {}) => {
    await sequence(t.db);
    const [row] = await asNina((tx) =>
      tx.query<{ page: Page }>("select perch.pull(app_id => 'hr', cursor => $1::jsonb) as page", [
        JSON.stringify(cursor),
      ]),
    );
    if (row === undefined) throw new Error("no page");
    return row.page;
  };
  const titles = (page: Page) => page.changes.map(({ op, data }) => `${op} ${data?.title ?? "-"}`);
  const lost = async (cursor: Cursor) =>
    pull(cursor).then(
      () => "goes on",
      (error: PerchError) => (error.detail as { spaces: { cause?: string }[] }).spaces[0]?.cause,
    );

  it("readers begin anew, and are given what the rules then let them see", async () => {
    await sync("row_filter => 'id = ''a'''");
    await t.db.query("insert into hr.seen_by values ('a', 'north', 'A'), ('b', 'north', 'B')");
    const first = await pull();
    expect(titles(first)).toEqual(["insert A"]);
    await sync("row_filter => 'id = ''a'''");
    expect(await lost(first.cursor)).toBe("goes on");
    await sync("row_filter => 'id = ''b'''");
    expect(await lost(first.cursor)).toBe("rules");
    const second = await pull();
    expect(titles(second)).toEqual(["insert B"]);
    await sync(`column_roles => '{"title": ["owner"]}'`);
    expect(await lost(second.cursor)).toBe("rules");
    const third = await pull();
    expect(titles(third)).toEqual(["insert -", "insert -"]);
    await sync("always => false");
    expect(await lost(third.cursor)).toBe("rules");
    expect(titles(await pull())).toEqual(["insert A", "insert B"]);
  });

  it("what was in a column that few may see is shown to nobody else when it has another name, or is gone", async () => {
    await t.db.query("create table hr.deals (id int primary key, team text not null, title text, margin int)");
    const syncDeals = (roles: string) =>
      t.db.query("select perch.sync_table('hr.deals', 'deals', space_column => 'team', column_roles => $1)", [roles]);
    const seen = async () => {
      await sequence(t.db);
      return asNina(async (tx) => {
        const [row] = await tx.query<{ page: Page; rows: Snapshot }>(
          `select perch.pull(app_id => 'deals') as page, perch.snapshot_records(app_id => 'deals', space_id => 'north') as rows`,
        );
        return [...(row?.page.changes ?? []), ...(row?.rows.records ?? [])].map(({ data }) => JSON.stringify(data));
      });
    };
    await syncDeals('{"margin": ["owner"]}');
    await t.db.query("insert into hr.deals values (1, 'north', 'A', 900)");
    await t.db.query("alter table hr.deals rename column margin to profit");
    await t.db.query("update hr.deals set title = 'B', profit = 901");
    const before = ['{"id":1,"team":"north","title":"A"}', '{"title":"B"}', '{"id":1,"team":"north","title":"B"}'];
    expect(await seen()).toEqual(before);
    await syncDeals('{"profit": ["owner"]}');
    expect(await seen()).toEqual(before);
    await t.db.query("alter table hr.deals drop column profit");
    expect(await seen()).toEqual(before);
    await syncDeals("{}");
    expect(await seen()).toEqual(before);
  });

  it("a row as it was when it had no column of the name that the filter asks for is out of sight", async () => {
    await t.db.query("create table hr.drafts (id int primary key, team text not null, title text, private boolean)");
    const syncDrafts = (filter: string) =>
      t.db.query("select perch.sync_table('hr.drafts', 'drafts', space_column => 'team', row_filter => $1)", [filter]);
    const seen = async () => {
      await sequence(t.db);
      const [row] = await asNina((tx) => tx.query<{ page: Page }>("select perch.pull(app_id => 'drafts') as page"));
      return titles(row?.page as Page);
    };
    await syncDrafts("private is not true");
    await t.db.query("insert into hr.drafts values (1, 'north', 'mine', true), (2, 'north', 'ours', false)");
    expect(await seen()).toEqual(["insert ours"]);
    await t.db.query("alter table hr.drafts rename column private to is_private");
    await syncDrafts("is_private is not true");
    await t.db.query("update hr.drafts set title = title || '!'");
    expect(await seen()).toEqual(["update ours!"]);
  });

  it("a row whose space cannot be told is out of sight, and its document, and those of others are not", async () => {
    await t.db.query("create table hr.boards (id int primary key, n int, body text not null default '')");
    await t.db.query(
      `select perch.sync_table('hr.boards', 'boards', space_expression => 'case when 6 / n > 0 then ''north'' end',
         row_filter => 'true', documents => '{"body": "text"}')`,
    );
    await t.db.query("insert into hr.boards values (1, 1), (2, 0)");
    const lists = 'array_fill(\'{"readable": ["north"]}\'::jsonb, array[2])';
    expect(
      await t.db.query(
        `select perch.documents_in_sight('{nina,nina}', ${lists}, '{north,north}', '{boards,boards}', '{boards,boards}', '{1,2}') as sees`,
      ),
    ).toEqual([{ sees: [true, false] }]);
  });

  it("what was captured, and documents, are not shown without rules under a name that the table had before", async () => {
    await t.db.query(
      "create table hr.memos (id int primary key, team text not null, owner text, secret text, body text not null default '')",
    );
    const syncMemos = (name: string) =>
      t.db.query(
        `select perch.sync_table('hr.memos', 'memos', space_column => 'team', table_name => $1, columns => '{id,team,owner,body}',
           row_filter => 'owner = perch.current_user_id()', documents => '{"body": "text"}')`,
        [name],
      );
    const state = () =>
      asNina((tx) =>
        tx.query(
          "select head_seq from perch.document_state(app_id => 'memos', table_name => 'memos', record_id => '1', space_id => 'north')",
        ),
      );
    await syncMemos("memos");
    await t.db.query("insert into hr.memos values (1, 'north', 'otto', 'hush', 'private')");
    await t.db.query("select perch.adopt_row('north', 'memos', 'memos', '1')");
    await expect(state()).rejects.toMatchObject({ code: "PE404" });
    await syncMemos("slips");
    await expect(state()).rejects.toMatchObject({ code: "PE404" });
    await sequence(t.db);
    expect(
      await t.db.query("select from perch.sync_changes where app_id = 'memos' and data::text like '%hush%'"),
    ).toEqual([]);
  });

  it("what was in the log of a table with rules is shown to nobody once it is not synced, or has another name", async () => {
    await sync("row_filter => 'id = ''a'''");
    const { cursor } = await pull();
    await t.db.query("select perch.unsync_table('hr.seen_by')");
    expect(await lost(cursor)).toBe("rules");
    expect(titles(await pull())).toEqual([]);
    expect(await asNina((tx) => tx.query("select from perch.sync_changes"))).toEqual([]);
    expect(await t.db.query("select from pg_proc where proname like 'perch_sees_seen_by%'")).toEqual([]);
    await sync("always => false");
    await t.db.query("insert into hr.seen_by values ('c', 'north', 'C')");
    expect(titles(await pull())).toEqual(["insert C"]);
    await sync("row_filter => 'true', table_name => 'others'");
    await sync("always => false, table_name => 'again'");
    await t.db.query("insert into hr.seen_by values ('d', 'north', 'D')");
    expect(titles(await pull())).toEqual(["insert C", "insert D"]);
    await sync("row_filter => 'true'");
    expect(titles(await pull())).toEqual(["insert C"]);
    await t.db.query("drop table hr.seen_by");
    await t.db.query("create table hr.other (id int primary key)");
    await t.db.query("select perch.sync_table('hr.other', 'hr', space_id => 'north')");
    expect(titles(await pull())).toEqual([]);
  });
});

describeEachEngine("A row_filter", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    const dba = `hr_dba_${Math.random().toString(36).slice(2)}`;
    const somebody = `somebody_${Math.random().toString(36).slice(2)}`;
    await t.db.transaction((tx) =>
      tx.script(`
        create role ${dba} nologin;
        create role ${somebody} nologin;
        create schema hr authorization ${dba};
        set role ${dba};
        create table hr.tasks (id int primary key, team text not null, title text, due date, shape numrange);
        create table hr.helpers (task_id int, helper text, primary key (task_id, helper));
        create function hr.may(title text) returns boolean language sql stable set search_path = pg_catalog, pg_temp
          return title = current_setting('app.current_user_id');
        reset role;
        create table public.secrets (id int);
        create function hr.theirs() returns boolean language sql as 'select true';
        alter function hr.theirs() owner to ${somebody};
        insert into hr.tasks values (1, 'north', 'nina'), (2, 'north', 'x');
        insert into hr.helpers values (2, 'otto');`),
    );
  });

  const sync = (filter: string) =>
    t.db.transaction((tx) =>
      tx.query("select perch.sync_table('hr.tasks', 'hr', space_column => 'team', row_filter => $1)", [filter]),
    );
  const seenBy = (user: string) =>
    t.db.transaction(async (tx) => {
      await tx.query("set local role perch_app");
      await tx.query("select perch.set_context($1, '{north}')", [user]);
      const [row] = await tx.query<{ page: Snapshot }>(
        "select perch.snapshot_records('hr', space_id => 'north') as page",
      );
      return row?.page.records.map(({ id }) => Number(id));
    });

  it("may ask for the row, the user, functions of the owner's and other tables that they may read", async () => {
    await sync("hr.may(title)");
    expect([await seenBy("nina"), await seenBy("otto")]).toEqual([[1], []]);
    await sync(
      "hr.may(tasks.title) or exists (select from hr.helpers h where h.task_id = tasks.id and h.helper = perch.current_user_id()) -- or",
    );
    expect([await seenBy("nina"), await seenBy("otto")]).toEqual([[1], [2]]);
    await sync("tasks.title = 'x' and tasks is not null or due is null and id = 1");
    expect([await seenBy("nina"), await seenBy("otto")]).toEqual([[1], [1]]);
    await sync("case when due is null then title = 'x' else false end");
    expect(await seenBy("nina")).toEqual([2]);
    // What the readers' roles may is not asked.
    await sync("exists (select from hr.helpers h where h.task_id = id)");
    expect(await seenBy("nina")).toEqual([2]);
  });

  it("keeps to itself the keys of rows out of sight, however many pages they take", async () => {
    await t.db.query(
      "insert into hr.tasks select 10000 + n, 'far', case when n in (9, 30) then 'seen' else '' end from generate_series(1, 30) n",
    );
    await sync("case title when 'seen' then true else pg_sleep(0.015) is null end");
    const places: unknown[] = [];
    const seen: string[] = [];
    for (let after: string | null = null; ; ) {
      const next: string | null = await t.db.transaction(async (tx) => {
        await tx.query("set local role perch_app");
        await tx.query("select perch.set_context('nina', '{far}')");
        const [row] = await tx.query<{ page: Snapshot }>(
          "select perch.snapshot_records('hr', space_id => 'far', after => $1, page_size => 1) as page",
          [after],
        );
        seen.push(...(row?.page.records ?? []).map(({ id }) => id));
        return row?.page.next ?? null;
      });
      if (next === null) break;
      places.push(JSON.parse(Buffer.from(next, "base64").toString())[6]);
      after = next;
    }
    expect(seen).toEqual(["10009", "10030"]);
    expect(places.length).toBeGreaterThan(1);
    // None before the first that is in sight.
    expect(new Set(places.filter((place) => place !== null))).toEqual(new Set(["10009"]));
  });

  it("that looks further than the row has updates with all columns, since what it says may have changed meanwhile", async () => {
    const reads = async () => {
      const [row] = await t.db.query<{ reads_more: boolean }>("select reads_more from perch.synced_relations");
      return row?.reads_more;
    };
    await sync("title = perch.current_user_id() and due > date '2020-01-01' and lower(shape) > 1");
    expect(await reads()).toBe(false);
    const further = [
      "due > current_date",
      "hr.may(title)",
      "exists (select from hr.helpers h where h.task_id = tasks.id)",
    ];
    for (const filter of further) {
      await sync(filter);
      expect(await reads()).toBe(true);
    }
    await t.db.query("update hr.tasks set due = '2030-01-01' where id = 2");
    await sequence(t.db);
    const [row] = await t.db.transaction(async (tx) => {
      await tx.query("select perch.set_context('nina', '{north}')");
      return tx.query<{ page: Page }>("select perch.pull('hr') as page");
    });
    expect(row?.page.changes).toMatchObject([{ op: "update", id: "2", data: { title: "x", due: "2030-01-01" } }]);
  });

  it.each([
    ["nothing = 1", "42703"],
    ["id", "42804"],
    ["count(*) > 1", "42803"],
    ["true; drop table hr.tasks", "42601"],
    ["exists (select from public.secrets)", "42501"],
    ["exists (select from perch.stored_records)", "42501"],
    ["hr.nobody()", "42883"],
    ["hr.theirs()", undefined],
  ])("that is %s is refused", async (filter, sqlstate) => {
    const refused = await sync(filter).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "PE422", detail: { argument: "row_filter", ...(sqlstate && { sqlstate }) } });
  });
});

describeEachPostgres("The server's log", (open) => {
  it("names a row for which the filter fails, and says nothing of what is in it", async () => {
    const t = await open();
    await t.db.transaction((tx) => tx.script(schema));
    await t.db.query(
      `select perch.sync_table('hr.people', 'hr', space_id => 'one', row_filter => 'level::int > 5', writable_columns => '{level,note}')`,
    );
    await t.db.query(
      "insert into hr.people (id, team, name, level) values (1, 'x', '7-Hafnium', '7-Hafnium'), (2, 'x', '7-Hafnium', '9')",
    );
    await sequence(t.db);
    const client = new pg.Client({ connectionString: t.url });
    const notices: unknown[] = [];
    client.on("notice", (notice) => notices.push(notice));
    await client.connect();
    try {
      await client.query("begin; set local role perch_app; select perch.set_context('nina', '{one}', '{one}')");
      const texts: string[] = [];
      for (const call of [
        "perch.pull('hr')",
        "perch.snapshot_records('hr', space_id => 'one')",
        `perch.push('hr', '[{"op": "update", "table": "people", "id": "1", "space_id": "one", "data": {"note": "n"}},
           {"op": "update", "table": "people", "id": "2", "space_id": "one", "data": {"level": "8-Oxygen"}}]', 'phone')`,
      ]) {
        const { rows } = await client.query(`select ${call} as answer`);
        texts.push(JSON.stringify(rows[0].answer));
      }
      await client.query("commit");
      expect(texts[0]).toContain('"id":"2"');
      expect(texts[2]).toContain("PE404");
      expect(texts[2]).toContain("PE403");
      const said = notices.map((notice) => {
        const { message, detail, hint, where, code } = notice as Record<string, string | undefined>;
        return [message, detail, hint, where, code].join("\n");
      });
      expect(said.join("\n")).toMatch(/row_filter of people fails for 1 of 2 rows, which are left out: 1\n/);
      expect(said.join("\n")).toContain("22P02");
      expect([...texts.map((text) => text.replaceAll('"name":"7-Hafnium"', "")), ...said].join("\n")).not.toMatch(
        /Hafnium|Oxygen/,
      );
    } finally {
      await client.end();
    }
  });
});

describeEachPostgres("A statement that began before rules were changed", (open) => {
  it("is ended, and never shows rows by the new ones with columns by the old ones", async () => {
    const t = await open();
    const owner = await t.connect();
    await t.db.transaction((tx) => tx.script(schema));
    const sync = (options: string) =>
      owner.query(`select perch.sync_table('hr.seen_by', 'hr', space_column => 'team', ${options})`);
    await sync("row_filter => 'id = ''a'''");
    await owner.query("insert into hr.seen_by values ('a', 'north', 'A'), ('b', 'north', 'B')");
    await sequence(t.db);
    const ways = {
      snapshot: "select perch.snapshot_records('hr', space_id => 'north')::text as told",
      pull: "select perch.pull(app_id => 'hr')::text as told",
      "first rows of a shape":
        "select fields as told from perch.shape_rows(schema_name => 'hr', table_name => 'seen_by')",
      "changes of a shape":
        "select messages::text as told from perch.shape_changes(schema_name => 'hr', table_name => 'seen_by', after_lsn => 0)",
    };
    for (const [way, statement] of Object.entries(ways)) {
      await sync("row_filter => 'id = ''a'''");
      const told = await t.db
        .transaction(async (tx) => {
          await tx.query("set transaction isolation level repeatable read");
          await tx.query("set local role perch_app");
          await tx.query("select perch.set_context('nina', '{north}')");
          await sync(`row_filter => 'true', column_roles => '{"title": ["owner"]}'`);
          return tx.query(statement);
        })
        .then(JSON.stringify, (error: { code?: string }) => error.code);
      expect({ way, told }).toEqual({ way, told: "40001" });
    }
  });
});
