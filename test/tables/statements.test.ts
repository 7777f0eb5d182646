import fc from "fast-check";
import { expect, it } from "vitest";
import type { Transaction } from "../../src/database/types.js";
import { postgres } from "../support/databases.js";
import { Follower, held, logOf, sequence, syncTable } from "./support.js";

const id = fc.integer({ min: 1, max: 6 });
const team = fc.constantFrom("red", "blue", null);
const title = fc.constantFrom("a", "b", "c");
const text = (value: string | null) => (value === null ? "null" : `'${value}'`);
const rows = fc.uniqueArray(fc.tuple(id, team, title), { minLength: 1, maxLength: 4, selector: ([key]) => key });
const values = (list: [number, string | null, string][]) =>
  list.map(([key, space, name]) => `(${key}, ${text(space)}, '${name}')`).join(", ");

/** One statement on a table `$T` of (id, team, title). */
const statement = fc.oneof(
  rows.map((list) => `insert into $T values ${values(list)} on conflict (id) do nothing`),
  rows.map(
    (list) =>
      `insert into $T values ${values(list)} on conflict (id) do update set team = excluded.team, title = $T.title || excluded.title`,
  ),
  fc.tuple(id, title).map(([key, name]) => `update $T set title = '${name}' where id >= ${key}`),
  fc.tuple(id, team).map(([key, space]) => `update $T set team = ${text(space)} where id <= ${key}`),
  fc.integer({ min: -2, max: 2 }).map((by) => `update $T set id = id + ${by}`),
  fc
    .tuple(id, id)
    .map(
      ([one, other]) =>
        `update $T set id = case id when ${one} then ${other} else ${one} end where id in (${one}, ${other})`,
    ),
  id.map((key) => `update $T set title = title where id = ${key}`),
  id.map((key) => `delete from $T where id = ${key}`),
  // Of two rows of one key, the one.
  fc
    .tuple(id, team)
    .map(([key, space]) => `delete from $T where id = ${key} and team is not distinct from ${text(space)}`),
  fc.tuple(id, title).map(([key, name]) => `delete from $T where id = ${key} and title = '${name}'`),
  fc.tuple(title, id).map(([name, key]) => `update $T set id = ${key} where title = '${name}'`),
  title.map((name) => `update $T set title = title || '+' where title = '${name}'`),
  fc.constant("truncate $T"),
  rows.map(
    (list) => `merge into $T using (values ${values(list)}) v (id, team, title) on $T.id = v.id
      when matched and v.title = 'c' then delete
      when matched then update set title = v.title
      when not matched then insert values (v.id, v.team, v.title)`,
  ),
  rows.map(
    (list) => `with gone as (delete from $T where id > 3 returning id) insert into $T select v.id + 10, v.team, v.title
      from (values ${values(list)}) v (id, team, title) where not exists (select from $T x where x.id = v.id + 10)`,
  ),
);
/** What is done in one transaction: each part in a savepoint, which may be rolled back. */
const transaction = fc.record({
  parts: fc.array(fc.record({ sql: statement, undone: fc.boolean() }), { minLength: 1, maxLength: 4 }),
  undone: fc.constantFrom(false, false, false, true),
});

const triggers = fc.constantFrom(
  "",
  // What was inserted is changed, or taken away again, behind it.
  `create trigger behind after insert on $T for each row execute function $T_behind();`,
  // Room is made before it.
  `create trigger before_it before insert on $T for each row execute function $T_before();`,
  // Another row of the same statement, or of an earlier one, is written again, and back.
  `create trigger beside after insert or update on $T for each row when (pg_trigger_depth() < 2)
     execute function $T_beside();`,
);
/** How the rows are kept: of a partitioned table, and of one that is captured always, it is told row by row what was done. */
const layout = fc.constantFrom("plain", "plain", "always", "partitioned");

async function run(tx: Transaction, sql: string, undone: boolean): Promise<void> {
  await tx.script("savepoint part");
  try {
    await tx.query(sql);
    await tx.script(undone ? "rollback to part" : "release part");
  } catch (error) {
    // Two rows cannot have one key, a statement cannot touch a row twice, and a table of which a key is yet to be checked
    // cannot be truncated: it is undone.
    if (!/^(23505|21000|27000|55006|22)/.test(String((error as { code?: string }).code))) throw error;
    await tx.script("rollback to part");
  }
}

const open = postgres();

it("whatever statements write a table, followers of its spaces have its rows", async () => {
  const t = await open();
  let table = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(transaction, { minLength: 1, maxLength: 8 }),
      triggers,
      fc.constantFrom("primary key", "primary key deferrable initially deferred"),
      fc.constantFrom("space_column => 'team'", "space_expression => 'team || '''''"),
      fc.integer({ min: 1, max: 4 }),
      layout,
      async (work, trigger, key, space, pageSize, layout) => {
        const name = `t${++table}`;
        // Where keys are checked late, a trigger finds two rows of one key: no key says which is which then.
        const deferrable = key !== "primary key" && trigger === "" && layout !== "partitioned";
        await t.db.transaction((tx) =>
          tx.script(
            `create table ${name} (id int ${deferrable ? key : "primary key"}, team text, title text)
               ${layout === "partitioned" ? "partition by range (id)" : ""};
             ${layout === "partitioned" ? `create table ${name}_low partition of ${name} for values from (minvalue) to (4); create table ${name}_high partition of ${name} default;` : ""}
             create function ${name}_behind() returns trigger language plpgsql as $$
             begin
               update ${name} set title = title || '.' where id = new.id and title not like '%.';
               if new.id % 3 = 0 then delete from ${name} where id = new.id; end if;
               return null;
             end $$;
             create function ${name}_before() returns trigger language plpgsql as $$
             begin delete from ${name} where id = new.id; return new; end $$;
             create function ${name}_beside() returns trigger language plpgsql as $$
             begin
               update ${name} set title = case when title like '%!' then left(title, -1) else title || '!' end
                where id in (new.id + 1, new.id - 1);
               update ${name} set team = case team when 'red' then 'blue' when 'blue' then 'red' end where id = new.id + 2;
               return null;
             end $$;
             ${trigger.replaceAll("$T", name)}`,
          ),
        );
        await syncTable(t.db, name, layout === "always" ? `${space}, always => true` : space);
        const follower = new Follower();
        for (const { parts, undone } of work) {
          const rolledBack = new Error("rolled back");
          try {
            await t.db.transaction(async (tx) => {
              for (const part of parts) {
                // Of a key that is deferrable no conflict can be asked for.
                const sql = deferrable ? part.sql.replace(/ on conflict .*/, "") : part.sql;
                await run(tx, sql.replaceAll("$T", name), part.undone);
              }
              if (undone) throw rolledBack;
            });
          } catch (error) {
            if (error !== rolledBack && (error as { code?: string }).code !== "23505") throw error;
          }
          await sequence(t.db);
          await t.asUser("ann", async (tx) => {
            await tx.query("select perch.set_context('ann', '{red,blue}')");
            await follower.toTheEnd(tx, pageSize);
          });
          const now = await t.db.query<{ key: string; data: Record<string, unknown> }>(
            `select '${name}/' || id as key, to_jsonb(x) as data from ${name} x where team is not null`,
          );
          expect(
            Object.fromEntries(Object.entries(held(follower)).filter(([row]) => row.startsWith(`${name}/`))),
          ).toEqual(Object.fromEntries(now.map((row) => [row.key, row.data]).sort()));
        }
        await t.db.query(`select perch.unsync_table(relation => '${name}')`);
      },
    ),
    // To make one smaller takes longer than all of them: its seed is enough.
    { numRuns: 60, endOnFailure: true },
  );
});

it.each([
  [
    "one is changed, and then the other is gone",
    ["update $T set title = 'c' where title = 'a'", "delete from $T where title = 'b'"],
  ],
  [
    "one is gone, and then the other is changed",
    ["delete from $T where title = 'b'", "update $T set title = 'c' where title = 'a'"],
  ],
  ["both are gone at once", ["delete from $T where id = 6"]],
  ["the first is gone", ["delete from $T where title = 'a'"]],
  ["the second goes elsewhere", ["update $T set id = 7 where title = 'b'"]],
])("of a key that has two rows for a while, followers have what is there in the end: %s", async (_, statements) => {
  const t = await open();
  for (const [table, second, space] of [
    ["beside", "red", "space_column => 'team'"],
    ["apart", "blue", "space_expression => 'team || '''''"],
  ] as const) {
    await t.db.query(`create table ${table} (id int primary key deferrable initially deferred, team text, title text)`);
    await syncTable(t.db, table, space);
    await t.db.query(`insert into ${table} values (6, 'red', 'a')`);
    await sequence(t.db);
    await t.db.transaction(async (tx) => {
      await tx.query(`insert into ${table} values (6, '${second}', 'b')`);
      for (const sql of statements) await tx.query(sql.replaceAll("$T", table));
    });
    await sequence(t.db);
    const follower = new Follower();
    await t.asUser("ann", async (tx) => {
      await tx.query("select perch.set_context('ann', '{red,blue}')");
      await follower.toTheEnd(tx);
    });
    const now = await t.db.query<{ key: string; data: Record<string, unknown> }>(
      `select team || ':${table}/' || id as key, to_jsonb(x) as data from ${table} x`,
    );
    const there = [...follower.rows].filter(([key]) => key.includes(`:${table}/`));
    expect(Object.fromEntries(there)).toEqual(Object.fromEntries(now.map(({ key, data }) => [key, data])));
  }
});

it.each([
  ["partitioned", "partition by range (id)", ""],
  ["captured always", "", ", always => true"],
])(
  "a trigger for each row that writes other rows of its statement leaves followers what is there, in a table that is %s",
  async (_, by, options) => {
    const t = await open();
    await t.db.transaction((tx) =>
      tx.script(`
      create table rows (id int primary key, team text, title text) ${by};
      ${by === "" ? "" : "create table low partition of rows for values from (minvalue) to (3); create table high partition of rows default;"}
      create function beside() returns trigger language plpgsql as $$
      begin
        if new.id = 1 then
          update rows set title = 'a' where id = 3;
        elsif new.id = 2 then
          update rows set team = 'blue' where id = 4;
          update rows set team = 'red', title = 'a' where id = 4;
        elsif new.id = 3 then
          delete from rows where id = 5;
          insert into rows values (5, 'red', 'a');
        elsif new.id = 4 then
          update rows set id = -6 where id = 6;
          update rows set id = 6, title = 'a' where id = -6;
        end if;
        return null;
      end $$;
      create trigger beside after update on rows for each row when (pg_trigger_depth() = 0) execute function beside();`),
    );
    await syncTable(t.db, "rows", `space_column => 'team'${options}`);
    const follower = new Follower();
    const follow = async () => {
      await sequence(t.db);
      await t.asUser("ann", async (tx) => {
        await tx.query("select perch.set_context('ann', '{red,blue}')");
        await follower.toTheEnd(tx);
      });
      const now = await t.db.query<{ key: string; data: Record<string, unknown> }>(
        "select 'rows/' || id as key, to_jsonb(x) as data from rows x order by id",
      );
      expect(held(follower)).toEqual(Object.fromEntries(now.map(({ key, data }) => [key, data])));
    };
    await t.db.query("insert into rows select i, 'red', 'a' from generate_series(1, 6) i");
    await follow();
    await t.db.query("update rows set title = 'b'");
    await follow();
    await t.db.transaction((tx) =>
      tx.script("update rows set title = 'c'; update rows set title = 'b'; update rows set title = 'a'"),
    );
    await follow();
  },
);

it.each(["space_column => 'team'", "space_expression => 'team || '''''"])(
  "a row that one statement deletes and inserts again is there, also where a cascade deletes more (%s)",
  async (space) => {
    const t = await open();
    await t.db.query(
      "create table tree (id int primary key, parent int references tree on delete cascade, team text, title text)",
    );
    await syncTable(t.db, "tree", space);
    await t.db.query(
      "insert into tree values (1, null, 'red', 'a'), (2, 1, 'red', 'b'), (3, 2, 'red', 'c'), (4, 1, 'red', 'd')",
    );
    await t.db.transaction(async (tx) => {
      await tx.query(
        "with gone as (delete from tree where id in (2, 4) returning *) insert into tree select * from gone where id = 2",
      );
      await tx.query("delete from tree where id = 2");
      await tx.query("insert into tree values (2, 1, 'red', 'b'), (5, 2, 'red', 'e')");
      await tx.query("with gone as (delete from tree where id = 2 returning *) insert into tree select * from gone");
    });
    await sequence(t.db);
    const follower = new Follower();
    await t.asUser("ann", async (tx) => {
      await tx.query("select perch.set_context('ann', '{red,blue}')");
      await follower.toTheEnd(tx);
    });
    expect(Object.keys(held(follower))).toEqual(["tree/1", "tree/2"]);
  },
);

it("takes time by how many rows a transaction inserts and deletes in a table with cascades, and not by the square of that", async () => {
  const t = await open();
  await t.db.query("create table big (id int primary key, up int references big on delete cascade, team text)");
  await t.db.query("create index on big (up)");
  await syncTable(t.db, "big", "space_column => 'team'");
  await t.db.transaction(async (tx) => {
    await tx.query("set local statement_timeout = '8s'");
    await tx.query("insert into big select i, null, 'red' from generate_series(1, 20000) i");
    await tx.query("with gone as (delete from big returning *) insert into big select * from gone");
    await tx.query("delete from big");
  });
  await sequence(t.db);
  expect(
    (await logOf(t.db, "red")).filter((line) => line.includes("big/20000")).map((line) => line.split(" ")[0]),
  ).toEqual(["insert", "delete", "insert", "delete"]);
});
