import { beforeAll, expect, it } from "vitest";
import { PerchError } from "../../src/errors.js";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";

const schema = `
create table good (id int primary key, team text, title text, salary int, twice int generated always as (salary * 2) stored,
  counter int generated always as identity);
create table keyless (id int not null unique, team text);
create view seen as select * from good;
create materialized view counted as select * from good;
create foreign data wrapper elsewhere;
create server other foreign data wrapper elsewhere;
create foreign table remote (id int, team text) server other;
create unlogged table fleeting (id int primary key, team text);
create temporary table passing (id int primary key, team text);
create table parts (id int, team text, primary key (id)) partition by list (id);
create table part partition of parts default;
create table deferring (id int, team text, primary key (id) deferrable) partition by list (id);
create table parent (id int primary key, team text);
create table child (primary key (id)) inherits (parent);
create table paid (id int primary key, team text, price money);
create table listed (id int primary key, team text, notes json[]);
create table dated (id int primary key, team text, body json);
create domain checked as json;
create type remark as (at date, what checked[]);
create table nested (id int primary key, team text, notes remark[]);
create type pair as (a int, b int);
create sequence numbers;
create table hidden (id int primary key, team text, secret text);
alter table hidden enable row level security;
create policy nobody on hidden as restrictive for select using (false);
create table taken (id int primary key, team text);
create table documents (id int primary key, team text);
create table records (id int primary key, team text);
select perch.sync_table('taken', 'shop', space_column => 'team', table_name => 'orders');
select perch.declare_table('shop', 'documents', '{"body": "text"}');
select perch.set_context('ann');
select perch.push('shop', '[{"op": "insert", "table": "records", "id": "1"}]', 'phone');
`;

/** What is passed, the argument at fault where the error names one, and what the message says. */
const refusals: [what: string, call: string, says: RegExp][] = [
  ["no table", "null, 'shop', space_id => 'a'", /^invalid: relation is missing$/],
  ["a table without a primary key", "'keyless', 'shop', space_column => 'team'", /keyless has no primary key/],
  ["a view", "'seen', 'shop', space_column => 'team'", /seen is a view: its rows are those of the tables behind it/],
  ["a materialized view", "'counted', 'shop', space_column => 'team'", /counted is a materialized view/],
  ["a foreign table", "'remote', 'shop', space_column => 'team'", /remote is a foreign table: what others write to it/],
  ["a temporary table", "'passing', 'shop', space_column => 'team'", /passing is temporary/],
  ["an unlogged table", "'fleeting', 'shop', space_column => 'team'", /fleeting is unlogged: a crash empties it/],
  ["a partition", "'part', 'shop', space_column => 'team'", /part is a partition: sync the table that it is part of/],
  ["a partitioned table whose key is deferrable", "'deferring', 'shop', space_column => 'team'", /key is deferrable/],
  [
    "a table that is inherited from",
    "'parent', 'shop', space_column => 'team'",
    /parent inherits, or is inherited from/,
  ],
  ["a table that inherits", "'child', 'shop', space_column => 'team'", /child inherits, or is inherited from/],
  ["a composite type", "'pair', 'shop', space_id => 'a'", /pair is not a table/],
  ["a sequence", "'numbers', 'shop', space_id => 'a'", /numbers is not a table/],
  ["an index", "'good_pkey', 'shop', space_id => 'a'", /good_pkey is not a table/],
  ["a table of perch", "'perch.spaces', 'shop', space_column => 'space_id'", /perch.spaces is perch's own/],
  ["a table of Postgres", "'pg_class', 'shop', space_column => 'relname'", /pg_class is Postgres' own/],
  ["a column of type money", "'paid', 'shop', space_column => 'team'", /price is of type money, .*lc_monetary/],
  [
    "a column of type json",
    "'listed', 'shop', space_column => 'team'",
    /notes is of type json\[\], in which is json, which may hold/,
  ],
  [
    "a column with json deep in it",
    "'nested', 'shop', space_column => 'team'",
    /of type public.remark\[\], in which is json/,
  ],
  ["a column of type json", "'dated', 'shop', space_column => 'team'", /body is of type .*json, which may hold/],
  [
    "a table whose policies hide rows from everybody",
    "'hidden', 'shop', space_column => 'team'",
    /policy nobody of .*hidden hides rows/,
  ],
  ["no space", "'good', 'shop'", /exactly one of space_column, space_id and space_expression/],
  ["two spaces", "'good', 'shop', space_column => 'team', space_id => 'a'", /exactly one of space_column, space_id/],
  ["three spaces", "'good', 'shop', 'team', 'a', '''a'''", /exactly one of space_column, space_id/],
  ["an empty space", "'good', 'shop', space_id => ''", /space_id/],
  ["an unknown space column", "'good', 'shop', space_column => 'nowhere'", /good has no column nowhere/],
  ["a system column as space", "'good', 'shop', space_column => 'ctid'", /good has no column ctid/],
  ["an expression that is none", "'good', 'shop', space_expression => 'team ||'", /space_expression cannot be used: /],
  [
    "an expression with a statement behind it",
    "'good', 'shop', space_expression => 'team)); drop table good; --'",
    /space_expression cannot/,
  ],
  [
    "an expression that is not immutable",
    "'good', 'shop', space_expression => 'now()::text'",
    /space_expression cannot be used: .*IMMUTABLE/,
  ],
  [
    "an expression that reads another table",
    "'good', 'shop', space_expression => '(select max(team) from taken)'",
    /space_expression cannot/,
  ],
  ["an app without a name", "'good', '', space_id => 'a'", /app_id/],
  ["no app", "'good', null, space_id => 'a'", /app_id/],
  ["a table name with a line in it", "'good', 'shop', space_id => 'a', table_name => E'a\\nb'", /table_name/],
  [
    "the name of another synced table",
    "'good', 'shop', space_id => 'a', table_name => 'orders'",
    /orders is the name of .*taken/,
  ],
  [
    "the name of a table of documents",
    "'documents', 'shop', space_column => 'team'",
    /documents is the name of a table of documents/,
  ],
  [
    "the name of records",
    "'records', 'shop', space_column => 'team'",
    /there are records of the name records in this app/,
  ],
  [
    "an unknown column",
    "'good', 'shop', space_column => 'team', columns => '{id,nothing}'",
    /good has no column nothing/,
  ],
  ["columns without the key", "'good', 'shop', space_column => 'team', columns => '{title}'", /columns lacks id/],
  [
    "an unknown column to write",
    "'good', 'shop', space_column => 'team', writable_columns => '{nothing}'",
    /no column nothing/,
  ],
  [
    "a column to write that is not synced",
    "'good', 'shop', space_column => 'team', columns => '{id}', writable_columns => '{title}'",
    /title is to be written, and is not synced/,
  ],
  [
    "a generated column to write",
    "'good', 'shop', space_column => 'team', writable_columns => '{twice}'",
    /twice is generated, so nobody can write it/,
  ],
  [
    "an identity column to write",
    "'good', 'shop', space_column => 'team', writable_columns => '{counter}'",
    /counter is generated, so nobody/,
  ],
  [
    "a space column that clients may write",
    "'good', 'shop', space_column => 'team', writable_columns => '{team}'",
    /could move rows to any space/,
  ],
  [
    "documents that are no object",
    "'good', 'shop', space_column => 'team', documents => '[]'",
    /documents is not an object/,
  ],
  [
    "a filter that is no condition",
    "'good', 'shop', space_column => 'team', row_filter => 'title'",
    /row_filter cannot be used: .*boolean/,
  ],
  [
    "an empty filter",
    "'good', 'shop', space_column => 'team', row_filter => ''",
    /row_filter cannot be used: syntax error/,
  ],
  [
    "column roles that are no object",
    "'good', 'shop', space_column => 'team', column_roles => '[]'",
    /column_roles is not an object/,
  ],
  [
    "roles of an unknown column",
    `'good', 'shop', space_column => 'team', column_roles => '{"nothing": ["owner"]}'`,
    /column_roles names nothing, which is no column/,
  ],
  [
    "roles of a column that is not synced",
    `'good', 'shop', space_column => 'team', columns => '{id}', column_roles => '{"title": ["owner"]}'`,
    /title, which is not synced/,
  ],
  [
    "roles of the key",
    `'good', 'shop', space_column => 'team', column_roles => '{"id": ["owner"]}'`,
    /id is part of the primary key/,
  ],
  [
    "roles of the space",
    `'good', 'shop', space_column => 'team', column_roles => '{"team": ["owner"]}'`,
    /team is the space of the row/,
  ],
  [
    "roles that are no list",
    `'good', 'shop', space_column => 'team', column_roles => '{"title": "owner"}'`,
    /the roles of title are not an array/,
  ],
  [
    "a column for nobody",
    `'good', 'shop', space_column => 'team', column_roles => '{"title": []}'`,
    /nobody may see title: then do not sync it/,
  ],
  [
    "an unknown role",
    `'good', 'shop', space_column => 'team', column_roles => '{"title": ["boss"]}'`,
    /not among viewer, editor, owner/,
  ],
];

describeEachEngine("sync_table refuses", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await t.db.query("create table if not exists noted (id int primary key)");
  });

  it.each(refusals)("%s", async (_, call, says) => {
    const before = "select app_id, table_name, relation::text, space_column from perch.synced_relations order by 1, 2";
    await t.db
      .transaction(async (tx) => {
        await tx.script(schema);
        const noted = await tx.query(before);
        await tx.script("savepoint refused");
        const refused = await tx.query(`select perch.sync_table(${call})`).then(
          () => undefined,
          (error: unknown) => error,
        );
        await tx.script("rollback to refused");
        expect(refused).toBeInstanceOf(PerchError);
        expect(refused).toMatchObject({ code: "PE422", message: expect.stringMatching(says) });
        expect(await tx.query(before)).toEqual(noted);
        throw new RolledBack();
      })
      .catch((error: unknown) => {
        if (!(error instanceof RolledBack)) throw error;
      });
  });

  it("a column that triggers do not see, named or not, and takes the others alone", async () => {
    const [version] = await t.db.query<{ number: number }>(
      "select current_setting('server_version_num')::int as number",
    );
    const make = t.db.query(
      "create table doubled (id int primary key, team text, b int generated always as (id * 2) virtual)",
    );
    // Older ones have none.
    if (Number(version?.number) < 180_000) return expect(make).rejects.toThrow(/syntax error/);
    await make;
    const sync = (columns: string) =>
      t.db.query(`select perch.sync_table('doubled', 'shop', space_column => 'team', columns => ${columns})`);
    for (const columns of ["null", "'{id,b}'"]) {
      await expect(sync(columns)).rejects.toThrow(/b is a virtual generated column/);
    }
    await sync("'{id}'");
  });

  it("a table whose owner the caller is not", async () => {
    const dba = await t.login("perch_owner");
    await t.db.query("create table if not exists public.mine (id int primary key)");
    const refused = await dba
      .query("select perch.sync_table('public.mine', 'shop', space_id => 'a')")
      .catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "PE422", message: expect.stringMatching(/mine belongs to .*, and neither/) });
  });

  it("everybody who is not a member of perch_owner", async () => {
    for (const role of ["perch_app", "perch_worker", "stranger"] as const) {
      const login = await t.login(role);
      const refused = await login
        .query("select perch.sync_table('public.noted', 'shop', space_id => 'a')")
        .catch((error: unknown) => error);
      expect(refused).toMatchObject({ code: "42501" });
    }
  });

  it("to take out of the log what is not in it", async () => {
    const refused = await t.db.query("select perch.unsync_table('noted')").catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "PE422", message: expect.stringMatching(/noted is not synced/) });
  });
});

class RolledBack extends Error {}
