import fc from "fast-check";
import { expect, it } from "vitest";
import type { Transaction } from "../../src/database/types.js";
import { postgres } from "../support/databases.js";
import { Follower, held, sequence, syncTable } from "./support.js";

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
);

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
      async (work, trigger, key, space, pageSize) => {
        const name = `t${++table}`;
        // Where keys are checked late, a trigger finds two rows of one key: no key says which is which then.
        const deferrable = key !== "primary key" && trigger === "";
        await t.db.transaction((tx) =>
          tx.script(
            `create table ${name} (id int ${deferrable ? key : "primary key"}, team text, title text);
             create function ${name}_behind() returns trigger language plpgsql as $$
             begin
               update ${name} set title = title || '.' where id = new.id and title not like '%.';
               if new.id % 3 = 0 then delete from ${name} where id = new.id; end if;
               return null;
             end $$;
             create function ${name}_before() returns trigger language plpgsql as $$
             begin delete from ${name} where id = new.id; return new; end $$;
             ${trigger.replaceAll("$T", name)}`,
          ),
        );
        await syncTable(t.db, name, space);
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
    { numRuns: 30, endOnFailure: true },
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
