import { readdirSync, readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import type { Transaction } from "../../src/database/types.js";
import { type Change, codes, type Result } from "../log/support.js";
import { describeEachEngine, describeEachPostgres, type TestDatabase } from "../support/databases.js";

const schema = `
create schema crm;
create table crm.companies (id text primary key, team text not null, name text not null, taxes numeric);
create table crm.people (
  id bigint primary key, team text not null, name text not null, company text references crm.companies on delete cascade,
  email text unique, age int constraint grown check (age >= 18), big bigint, exact numeric, tags text[], settings jsonb, born date,
  spoken text generated always as (upper(name)) stored, made_at timestamptz not null default now(), secret text default 'kept', position serial,
  late text references crm.companies deferrable initially deferred
);
create table crm.pairs (a int, b text, team text not null, note text, primary key (a, b));
create table crm.mine (id text primary key, owner text not null, note text);
alter table crm.mine enable row level security;
create policy mine on crm.mine using (owner = perch.current_user_id()) with check (owner = perch.current_user_id());
create function crm.no_friday() returns trigger language plpgsql as $$
begin
  if new.name = 'friday' then raise exception 'not on a friday'; end if;
  if new.name = 'skip' then return null; end if;
  if new.name = 'moved' then new.team := 'elsewhere'; end if;
  return new;
end $$;
create trigger no_friday before insert or update on crm.people for each row execute function crm.no_friday();
select perch.sync_table('crm.companies', 'crm', space_column => 'team', writable_columns => '{name,taxes}');
select perch.sync_table('crm.people', 'crm', space_column => 'team',
  writable_columns => '{name,company,email,age,big,exact,tags,settings,born,late}');
select perch.sync_table('crm.pairs', 'crm', space_column => 'team', writable_columns => '{note}');
select perch.sync_table('crm.mine', 'crm', space_id => 'all', writable_columns => '{owner,note}');
`;

const row = (op: string, table: string, id: string | number, data?: object, more: Change = {}): Change => ({
  op,
  table,
  id: String(id),
  ...(data !== undefined && { data }),
  ...more,
});

describeEachEngine("A push to a synced table", (open) => {
  let t: TestDatabase;
  let nth = 0;
  beforeAll(async () => {
    t = await open();
    await t.db.transaction((tx) => tx.script(schema));
  });

  /** A team with a user of its own. */
  function team() {
    const name = `team${++nth}`;
    const base = nth * 1000;
    const as = <T>(work: (tx: Transaction) => Promise<T>) =>
      t.db.transaction(async (tx) => {
        await tx.query("set local role perch_app");
        await tx.query("select perch.set_context($1, $2, $2)", [`user-${name}`, [name, "all"]]);
        return work(tx);
      });
    const push = (changes: Change[], atomic = false, client = "phone") =>
      as(async (tx) => {
        const [answer] = await tx.query<{ answer: { results: Result[] } }>(
          "select perch.push(app_id => 'crm', changes => $1::jsonb, client_id => $2, atomic => $3) as answer",
          [JSON.stringify(changes.map((change) => ({ space_id: name, ...change }))), client, atomic],
        );
        return answer?.answer.results ?? [];
      });
    const log = async () => {
      for (let moved = 1; moved > 0; ) {
        const [done] = await t.db.query<{ moved: number }>("select perch.sequence_changes()::int as moved");
        moved = done?.moved ?? 0;
      }
      return t.db.query<{
        op: string;
        id: string;
        data: Record<string, unknown>;
        op_id: string;
        client_id: string;
        txid: string;
        user_id: string;
      }>(
        `select op, table_name || '/' || record_id as id, data, op_id, client_id, txid::text, user_id
           from perch.sync_changes where space_id = $1 order by seq`,
        [name],
      );
    };
    const person = async (id: number) => {
      const [found] = await t.db.query<Record<string, unknown>>(
        "select to_jsonb(p) as row from crm.people p where id = $1",
        [id],
      );
      return found?.row as Record<string, unknown> | undefined;
    };
    return { name, base, as, push, log, person };
  }

  it("writes the typed row; its defaults and generated columns come back through the log, with op_id, client and txid", async () => {
    const { name, base, push, log, person } = team();
    const id = base + 1;
    const [result] = await push([row("insert", "people", id, { name: "Ada", age: 36 }, { op_id: "one" })]);
    expect(result).toEqual({
      op_id: "one",
      status: "applied",
      space_id: name,
      seq: null,
      txid: expect.stringMatching(/^\d+$/),
    });
    expect(await person(id)).toMatchObject({ team: name, name: "Ada", age: 36, spoken: "ADA", secret: "kept" });
    const [entry, ...others] = await log();
    expect(entry).toMatchObject({
      op: "insert",
      id: `people/${id}`,
      data: { name: "Ada", spoken: "ADA", secret: "kept", made_at: expect.any(String) },
      op_id: "one",
      client_id: "phone",
      user_id: `user-${name}`,
      txid: result?.txid,
    });
    expect(others).toEqual([]);
    const [again] = await push([row("insert", "people", id, { name: "Ada", age: 36 }, { op_id: "one" })]);
    expect(again).toEqual({ ...result, status: "replayed" });
    await push([
      row("update", "people", id, { name: "Ada L." }, { op_id: "two" }),
      row("delete", "people", id, undefined, { op_id: "three" }),
    ]);
    expect((await log()).map(({ op, op_id }) => `${op} ${op_id}`)).toEqual([
      "insert one",
      "update two",
      "delete three",
    ]);
    expect(await person(id)).toBeUndefined();
  });

  it("converts values as Postgres does, with all their digits", async () => {
    const { name, base } = team();
    const data = `{"name": "x", "big": 9223372036854775807, "exact": 12345678901234567890.1234567890, "tags": ["a", "b,c"], "settings": {"k": [1, null]}, "born": "1815-12-10"}`;
    const changes = `[{"op": "insert", "table": "people", "id": "${base}", "space_id": "${name}", "data": ${data}},
      {"op": "insert", "table": "people", "id": "${base + 1}", "space_id": "${name}", "data": {"name": "y", "big": "42", "age": null}}]`;
    const results = await t.db.transaction(async (tx) => {
      await tx.query("set local datestyle = 'SQL, DMY'");
      await tx.query("select perch.set_context($1, $2, $2)", ["u", [name]]);
      const [answer] = await tx.query<{ answer: { results: Result[] } }>(
        "select perch.push(app_id => 'crm', changes => $1::jsonb, client_id => null) as answer",
        [changes],
      );
      return answer?.answer.results ?? [];
    });
    expect(codes(results)).toEqual(["applied", "applied"]);
    const [found] = await t.db.query(
      "select big::text, exact::text, tags::text, settings::text, born::text from crm.people where id = $1",
      [base],
    );
    expect(found).toEqual({
      big: "9223372036854775807",
      exact: "12345678901234567890.1234567890",
      tags: '{a,"b,c"}',
      settings: '{"k": [1, null]}',
      born: "1815-12-10",
    });
    const [other] = await t.db.query("select big::text, age from crm.people where id = $1", [base + 1]);
    expect(other).toEqual({ big: "42", age: null });
  });

  const refusals: [string, (base: number) => Change, string, object][] = [
    [
      "a column that clients may not write",
      (b) => row("insert", "people", b, { name: "x", secret: "s" }),
      "PE403",
      { column: "secret" },
    ],
    ["a column that is not there", (b) => row("update", "people", b, { nowhere: 1 }), "PE403", { column: "nowhere" }],
    [
      "another space in the row",
      (b) => row("insert", "people", b, { name: "x", team: "elsewhere" }),
      "PE403",
      { column: "team" },
    ],
    [
      "a space that is not the user's",
      (b) => row("insert", "people", b, { name: "x" }, { space_id: "elsewhere" }),
      "PE403",
      {},
    ],
    [
      "a null where there must be a value",
      (b) => row("insert", "people", b, {}),
      "PE422",
      { sqlstate: "23502", column: "name" },
    ],
    ["a check", (b) => row("insert", "people", b, { name: "x", age: 7 }), "PE422", { constraint: "grown" }],
    [
      "a foreign key",
      (b) => row("insert", "people", b, { name: "x", company: "none" }),
      "PE409",
      { constraint: "people_company_fkey" },
    ],
    [
      "a deferred foreign key",
      (b) => row("insert", "people", b, { name: "x", late: "none" }),
      "PE409",
      { constraint: "people_late_fkey" },
    ],
    [
      "a unique value",
      (b) => row("insert", "people", b, { name: "x", email: `taken${b}` }),
      "PE409",
      { constraint: "people_email_key" },
    ],
    [
      "a value of another type",
      (b) => row("insert", "people", b, { name: "x", big: "many" }),
      "PE422",
      { column: "big", sqlstate: "22P02" },
    ],
    ["an id of another type", () => row("insert", "people", "one", { name: "x" }), "PE422", { column: "id" }],
    ["an id written another way", (b) => row("insert", "people", `0${b}`, { name: "x" }), "PE422", { argument: "id" }],
    ["an id that is no key", () => row("insert", "pairs", "one", { note: "x" }), "PE422", { argument: "id" }],
    ["a trigger that raises", (b) => row("insert", "people", b, { name: "friday" }), "PE422", { sqlstate: "P0001" }],
    ["a trigger that keeps it out", (b) => row("insert", "people", b, { name: "skip" }), "PE403", {}],
    ["a trigger that moves it elsewhere", (b) => row("insert", "people", b, { name: "moved" }), "PE403", {}],
    ["an update of what is not there", (b) => row("update", "people", b, { name: "x" }), "PE404", {}],
    ["a row in another space", () => row("update", "companies", "theirs", { name: "x" }), "PE404", {}],
    ["an id that is in use in another space", () => row("insert", "companies", "theirs", { name: "x" }), "PE409", {}],
    [
      "a policy, of a row of one's own",
      (b) => row("insert", "mine", b, { owner: "somebody" }, { space_id: "all" }),
      "PE403",
      { sqlstate: "42501" },
    ],
    [
      "a policy, of a row of others",
      () => row("update", "mine", "theirs", { note: "x" }, { space_id: "all" }),
      "PE403",
      {},
    ],
    ["a policy, of a deletion", () => row("delete", "mine", "theirs", undefined, { space_id: "all" }), "PE403", {}],
    ["a constant space", (b) => row("insert", "mine", b, { note: "x" }), "PE403", {}],
  ];
  for (const [what, change, code, detail] of refusals) {
    it(`refuses alone what breaks a rule: ${what}`, async () => {
      const { base, push, person, log } = team();
      await t.db.query("insert into crm.companies values ('theirs', 'elsewhere', 'Theirs') on conflict do nothing");
      await t.db.query("insert into crm.mine values ('theirs', 'somebody') on conflict do nothing");
      await push([row("insert", "people", base + 9, { name: "before", email: `taken${base}` })]);
      const bad = { ...change(base), op_id: "bad" };
      const batch = [
        row("insert", "people", base + 1, { name: "one" }, { op_id: "one" }),
        bad,
        row("insert", "people", base + 2, { name: "two" }),
      ];
      const aborted = await push(batch, true);
      expect(codes(aborted)).toEqual(["PE409", code, "PE409"]);
      expect(await person(base + 1)).toBeUndefined();
      const results = await push(batch);
      expect(codes(results)).toEqual(["applied", code, "applied"]);
      expect(results[1]?.error?.detail).toMatchObject(detail);
      expect([await person(base + 1), await person(base + 2)]).toMatchObject([{ name: "one" }, { name: "two" }]);
      expect((await log()).map(({ id }) => id)).toEqual([base + 9, base + 1, base + 2].map((id) => `people/${id}`));
      // Its op_id is free again.
      expect(codes(await push([row("insert", "people", base + 3, { name: "x" }, { op_id: "bad" })]))).toEqual([
        "applied",
      ]);
    });
  }

  /** The connection would keep each that it was ever told, until it ends. */
  it("refuses times of zones that were made up, and takes those beside them", async () => {
    const { push } = team();
    await t.db.query("create domain crm.moment as timestamptz");
    await t.db.query(
      "create table crm.moments (id int primary key, team text, at crm.moment, during tstzrange, note text)",
    );
    await t.db.query(
      "select perch.sync_table('crm.moments', 'crm', space_column => 'team', writable_columns => '{at,during,note}')",
    );
    await t.db.query("grant usage on schema crm to perch_owner");
    const rows: [id: string, data: Record<string, string>][] = [
      ["1", { at: "2026-01-01T10:00:00+05:30", note: "abc5" }],
      ["2", { at: "2026-01-01 10:00 abc5" }],
      ["3", { during: "[2026-01-01 10:00 abc5,)" }],
      ["4", { at: "1 Jan 2026 10:00 Europe/Berlin", during: "[2026-01-01,01-Feb-2026)" }],
    ];
    const results = await push(rows.map(([id, data]) => row("insert", "moments", id, data)));
    expect(codes(results)).toEqual(["applied", "PE422", "PE422", "applied"]);
    expect(results[2]).toMatchObject({ error: { detail: { column: "during" } } });
  });

  it("takes a key of several columns, and what a row says of its own key and space", async () => {
    const { name, push } = team();
    const id = `[1, "${name}"]`;
    const results = await push([
      row("insert", "pairs", id, { a: 1, b: name, team: name, note: "n" }),
      row("update", "pairs", id, { note: "m" }),
    ]);
    expect(codes(results)).toEqual(["applied", "applied"]);
    expect(await t.db.query("select a, b, note from crm.pairs where b = $1", [name])).toEqual([
      { a: 1, b: name, note: "m" },
    ]);
  });

  it("goes by columns whatever they are called, as all that reads the table does", async () => {
    const text = ["tables", "shapes"]
      .flatMap((folder) => ["api", "internal"].map((part) => `sql/${folder}/${part}`))
      .flatMap((folder) => readdirSync(folder).map((file) => readFileSync(`${folder}/${file}`, "utf8")))
      .join();
    const named = [...text.matchAll(/\b([a-z_]+)\.(?:[a-z_*]|%)|to_jsonb\(([a-z_]+)\)/g)].map(([, a, b]) => a ?? b);
    const columns = [...new Set([...named, "row", "value", "old", "new", "changes", "nth"])].filter(
      (column) => column !== "id" && column !== "team",
    ) as string[];
    expect(columns).toEqual(expect.arrayContaining(["x", "t", "k", "g", "r", "perch_row", "perch_value"]));
    const { name, as, push, log } = team();
    const typed = columns.map((column) => `"${column}" text default 'd'`).join(", ");
    await t.db.query(`create table crm.odd (id text primary key, team text, ${typed})`);
    await t.db.query(
      `select perch.sync_table('crm.odd', 'crm', space_column => 'team', writable_columns => $1, row_filter => $$id <> 'out'$$)`,
      [columns],
    );
    await t.db.query("insert into crm.odd (id, team) values ('out', $1)", [name]);
    const all = (value: string) => Object.fromEntries(columns.map((column) => [column, value]));
    const pushed = [];
    for (const change of [
      row("insert", "odd", "a", all("1")),
      row("update", "odd", "a", all("3")),
      row("insert", "odd", "b", all("4")),
      row("delete", "odd", "b"),
      row("update", "odd", "out", all("5")),
    ]) {
      pushed.push(...codes(await push([change])));
    }
    expect(pushed).toEqual(["applied", "applied", "applied", "applied", "PE404"]);
    const a = { id: "a", team: name, ...all("3") };
    expect(await t.db.query("select * from crm.odd where id <> 'out'")).toEqual([a]);
    expect((await log()).map(({ op, data }) => [op, data?.x])).toEqual([
      ["insert", "d"],
      ["insert", "1"],
      ["update", "3"],
      ["insert", "4"],
      ["delete", undefined],
    ]);
    await as(async (tx) => {
      const [page] = await tx.query<{ data: object }>(
        "select perch.snapshot_records('crm', $1, tables => '{odd}') -> 'records' -> 0 -> 'data' as data",
        [name],
      );
      expect(page?.data).toEqual(a);
      const filter = JSON.stringify([
        "op",
        "=",
        [
          ["column", "x"],
          ["value", "3"],
        ],
      ]);
      const [chunk] = await tx.query<{ fields: string }>(
        "select fields from perch.shape_rows('crm', 'odd', filter => $1)",
        [filter],
      );
      expect(chunk?.fields).toContain("{a,");
      const [changes] = await tx.query<{ messages: string[] }>(
        "select messages from perch.shape_changes('crm', 'odd', 0, filter => $1)",
        [filter],
      );
      expect(changes?.messages.map((message) => JSON.parse(message).value)).toEqual([a]);
    });
  });

  it("leaves alone the domains of columns that it does not write", async () => {
    await t.db.transaction((tx) =>
      tx.script(`create domain crm.filled as text not null;
        create domain crm.code as text check (value ~ '^[a-z]+$');
        create table crm.sheets (id crm.code primary key, team text not null, title crm.filled default 'x', n crm.filled default '0');
        select perch.sync_table('crm.sheets', 'crm', space_column => 'team', writable_columns => '{title,n}');`),
    );
    const { push } = team();
    const answers = await push([
      row("insert", "sheets", "a", { n: "1" }),
      row("insert", "sheets", "b", { title: "t" }),
      row("update", "sheets", "a", { n: "2" }),
      row("update", "sheets", "a", { title: null }),
      row("update", "sheets", "7", { n: "2" }),
      row("delete", "sheets", "b"),
    ]);
    expect(codes(answers)).toEqual(["applied", "applied", "applied", "PE422", "PE422", "applied"]);
    expect(answers[3]?.error?.detail).toMatchObject({ column: "title" });
    expect(await t.db.query("select id, title, n from crm.sheets")).toEqual([{ id: "a", title: "x", n: "2" }]);
  });

  it("refuses a change by whatever the table and its triggers raise, and takes those beside it", async () => {
    await t.db.transaction((tx) =>
      tx.script(`create table crm.picky (id int primary key, team text not null, title text, n int);
        create index on crm.picky (title);
        create function crm.picky() returns trigger language plpgsql as $$
        declare one int;
        begin
          if new.n = 1 then select 1 into strict one where false; end if;
          if new.n = 2 then raise exception 'pay first' using errcode = 'PT402', hint = 'Pay.'; end if;
          if new.n = 3 then one := (select generate_series(1, 2)); end if;
          if new.n = 4 then update crm.picky set title = 'again' where id = new.id; end if;
          if new.n = 5 then perform from crm.nowhere; end if;
          return new;
        end $$;
        create trigger odd before insert or update on crm.picky for each row execute function crm.picky();
        select perch.sync_table('crm.picky', 'crm', space_column => 'team', writable_columns => '{title,n}');`),
    );
    const { base, push } = team();
    const long = Array.from({ length: 300 }, () => crypto.randomUUID()).join("");
    const answers = await push([
      row("insert", "picky", base, { title: "a" }),
      row("insert", "picky", base + 1, { title: long }),
      row("insert", "picky", base + 2, { n: 1 }),
      row("insert", "picky", base + 3, { n: 2 }),
      row("insert", "picky", base + 4, { n: 3 }),
      row("update", "picky", base, { n: 4 }),
      row("insert", "picky", base + 6, { title: "b" }),
    ]);
    expect(codes(answers)).toEqual(["applied", "PE422", "PE422", "PE422", "PE422", "PE422", "applied"]);
    expect(answers.map(({ error }) => (error?.detail as { sqlstate?: string } | undefined)?.sqlstate)).toEqual([
      undefined,
      "54000",
      "P0002",
      "PT402",
      "21000",
      "27000",
      undefined,
    ]);
    expect(answers[3]?.error).toMatchObject({ message: "invalid: pay first", hint: "Pay." });
    // A mistake in a function is no fault of the row, which waits until it is mended.
    await expect(push([row("insert", "picky", base + 7, { n: 5 })])).rejects.toMatchObject({ code: "42P01" });
  });

  it("finds what triggers name without a schema, and writes rows that one wrote since, for another row of the push", async () => {
    await t.db.transaction((tx) =>
      tx.script(`create table crm.addresses (id int primary key, team text not null, main boolean default false, street text);
        create function crm.only_one() returns trigger language plpgsql as $$ begin
          update addresses set main = false where team = new.team and id <> new.id and main;
          return null;
        end $$;
        create trigger only_one after update on crm.addresses for each row when (new.main) execute function crm.only_one();
        select perch.sync_table('crm.addresses', 'crm', space_column => 'team', writable_columns => '{main,street}');`),
    );
    const { name, base, push } = team();
    await t.db.query("insert into crm.addresses values ($1, $3, false, 'a'), ($2, $3, true, 'b')", [
      base,
      base + 1,
      name,
    ]);
    expect(
      codes(
        await push([
          row("update", "addresses", base, { main: true }),
          row("update", "addresses", base + 1, { street: "c" }),
        ]),
      ),
    ).toEqual(["applied", "applied"]);
    expect(await t.db.query("select main, street from crm.addresses where team = $1 order by id", [name])).toEqual([
      { main: true, street: "a" },
      { main: false, street: "c" },
    ]);
  });

  it("keeps the order of a push over tables, also where one of it is refused", async () => {
    const { name, base, push, person } = team();
    const family = (id: string, n: number): Change[] => [
      row("insert", "companies", id, { name: "C" }),
      row("insert", "people", base + n, { name: "P", company: id }),
    ];
    const batch = [
      ...family(`${name}a`, 1),
      ...family(`${name}b`, 2),
      row("insert", "people", base + 3, { name: "friday" }),
    ];
    expect(codes(await push(batch))).toEqual(["applied", "applied", "applied", "applied", "PE422"]);
    expect(codes(await push([row("delete", "companies", `${name}a`)]))).toEqual(["applied"]);
    expect([await person(base + 1), await person(base + 2)]).toMatchObject([undefined, { company: `${name}b` }]);
  });

  describe("lets the last writer win, column by column:", () => {
    const at = (minute: number) => ({
      at: `2026-01-01T10:${String(minute).padStart(2, "0")}:00Z`,
      op_id: `op${++ops}`,
    });
    let ops = 0;
    const setup = async () => {
      const own = team();
      const update = (data: object, minute: number) => own.push([row("update", "people", own.base, data, at(minute))]);
      await own.push([row("insert", "people", own.base, { name: "A", age: 20 }, at(10))]);
      return { ...own, update };
    };

    it("a late change of what was written later changes nothing, and its other columns are taken", async () => {
      const { base, update, person, log } = await setup();
      expect(codes(await update({ name: "B" }, 30))).toEqual(["applied"]);
      expect(codes(await update({ name: "C", age: 21 }, 20))).toEqual(["applied"]);
      expect(await person(base)).toMatchObject({ name: "B", age: 21 });
      await update({ age: 22 }, 15);
      expect(await person(base)).toMatchObject({ name: "B", age: 21 });
      await log();
      await update({ name: "D", age: 23 }, 25);
      expect(await person(base)).toMatchObject({ name: "B", age: 23 });
    });

    it("what plain SQL wrote counts as written when it was, numbered or not", async () => {
      for (const numbered of [true, false]) {
        const { base, update, person, log } = await setup();
        await t.db.query("update crm.people set name = 'SQL' where id = $1", [base]);
        if (numbered) await log();
        expect(codes(await update({ name: "late", age: 30 }, 50))).toEqual(["applied"]);
        expect(await person(base)).toMatchObject({ name: "SQL", age: 30 });
        await log();
        expect(codes(await update({ name: "early" }, 59))).toEqual(["applied"]);
        expect(await person(base)).toMatchObject({ name: "SQL" });
      }
    });

    it("what plain SQL wrote counts, however often it wrote before", async () => {
      const { name, base, update, person, log } = await setup();
      await log();
      await t.db.query(
        `with head as (update perch.space_heads set seq = seq + 10000 where space_id = $1 returning seq - 10000 as seq)
         insert into perch.sync_changes (space_id, seq, app_id, table_name, record_id, op, data, at, created_at, position)
         select $1, h.seq + g, 'crm', 'people', $2, 'update', '{"age": 20}', '2026-01-01', '2026-01-01', nextval('perch.change_position')
           from head h, generate_series(1, 10000) g`,
        [name, String(base)],
      );
      await t.db.query("update crm.people set name = 'SQL' where id = $1", [base]);
      await log();
      await update({ name: "late" }, 50);
      expect(await person(base)).toMatchObject({ name: "SQL" });
    });

    it("what a trigger wrote to a row of another table with the same id counts as written by plain SQL", async () => {
      await t.db.transaction((tx) =>
        tx.script(`create table crm.profiles (id bigint primary key, team text not null, name text);
          create function crm.mirror() returns trigger language plpgsql as $$ begin
            update crm.profiles set name = new.name where id = new.id;
            return null;
          end $$;
          create trigger mirror after update on crm.people for each row execute function crm.mirror();
          select perch.sync_table('crm.profiles', 'crm', space_column => 'team', writable_columns => '{name}');`),
      );
      const { name, base, update, push, log } = await setup();
      await t.db.query("insert into crm.profiles values ($1, $2, 'A')", [base, name]);
      await update({ name: "B" }, 30);
      const logged = await log();
      expect(logged.slice(-2).map(({ id, op_id }) => `${id} ${op_id === null ? "-" : "op"}`)).toEqual([
        `profiles/${base} -`,
        `people/${base} op`,
      ]);
      await push([row("update", "profiles", base, { name: "late" }, at(50))]);
      expect(await t.db.query("select name from crm.profiles where id = $1", [base])).toEqual([{ name: "B" }]);
      await t.db.query("drop trigger mirror on crm.people");
    });

    it("a change without a time is the last", async () => {
      const { base, push, person } = await setup();
      await t.db.query("update crm.people set name = 'SQL' where id = $1", [base]);
      await push([row("update", "people", base, { name: "now" })]);
      expect(await person(base)).toMatchObject({ name: "now" });
      // But an insertion of what is there is most likely a repetition.
      await push([row("insert", "people", base, { name: "again" })]);
      expect(await person(base)).toMatchObject({ name: "now" });
    });

    it("a deletion is undone by a later insertion alone", async () => {
      const { base, push, update, person } = await setup();
      await push([row("delete", "people", base, undefined, at(30))]);
      expect(codes(await update({ name: "late" }, 40))).toEqual(["applied"]);
      await push([row("insert", "people", base, { name: "before" }, at(20))]);
      expect(await person(base)).toBeUndefined();
      await push([row("insert", "people", base, { name: "revived" }, at(35))]);
      expect(await person(base)).toMatchObject({ name: "revived" });
      await push([row("delete", "people", base, undefined, at(33))]);
      expect(await person(base)).toMatchObject({ name: "revived" });
      await t.db.query("delete from crm.people where id = $1", [base]);
      expect(codes(await push([row("insert", "people", base, { name: "older than SQL's" }, at(50))]))).toEqual([
        "applied",
      ]);
      expect(await person(base)).toBeUndefined();
    });

    it("the same changes give the same row in whatever order they come", async () => {
      const changes = [
        [{ name: "a", age: 31 }, 21],
        [{ name: "b" }, 22],
        [{ age: 33 }, 23],
        [{ name: "d", age: 34 }, 24],
      ] as const;
      const orders = [
        [0, 1, 2, 3],
        [3, 2, 1, 0],
        [2, 0, 3, 1],
        [1, 3, 0, 2],
      ];
      for (const order of orders) {
        const { base, update, person } = await setup();
        for (const n of order) await update(...(changes[n] as [object, number]));
        expect(await person(base)).toMatchObject({ name: "d", age: 34 });
      }
    });
  });
});

describeEachPostgres("Pushes to a synced table at once", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await t.db.transaction((tx) => tx.script(schema));
  });
  const push = (user: string, changes: Change[]) =>
    t.db.transaction(async (tx) => {
      await tx.query("select perch.set_context($1, '{team}', '{team}')", [user]);
      const [answer] = await tx.query<{ answer: { results: Result[] } }>(
        "select perch.push(app_id => 'crm', changes => $1::jsonb, client_id => $2) as answer",
        [JSON.stringify(changes.map((change) => ({ space_id: "team", ...change }))), user],
      );
      return answer?.answer.results ?? [];
    });

  it("of the same rows in any order neither deadlock nor fail, and the last writer wins", async () => {
    const ids = Array.from({ length: 20 }, (_, n) => n + 1);
    const writers = Array.from({ length: 12 }, (_, n) => n);
    for (const op of ["insert", "update"]) {
      const outcomes = await Promise.all(
        writers.map((n) => {
          const mixed = n % 2 === 0 ? ids : ids.toReversed();
          return push(
            `w${n}`,
            mixed.map((id) =>
              row(
                op,
                "people",
                id,
                { name: `${op} ${n}`, age: 20 + n },
                { at: `2026-01-01T10:00:${10 + n}Z`, op_id: `${op}${n}-${id}` },
              ),
            ),
          );
        }),
      );
      expect(new Set(outcomes.flat().map(({ status }) => status))).toEqual(new Set(["applied"]));
      const rows = await t.db.query<{ name: string; age: number }>("select distinct name, age from crm.people");
      expect(rows).toEqual([{ name: `${op} 11`, age: 31 }]);
    }
  });
});
