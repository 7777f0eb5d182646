import type { Database, Transaction } from "../../src/database/types.js";

/** What many tests begin with. */
const asked = [
  "select perch.create_space(space_id => 'first')",
  "select perch.set_space_member('first', 'bob', 'editor')",
  `select perch.push('app', '[{"op": "insert", "table": "tasks", "id": "1", "data": {"title": "x"}}]', 'client')`,
  `select perch.push('app', '[{"op": "update", "table": "tasks", "id": "1", "space_id": "first", "data": {"title": "y"}}]', 'client')`,
  "select perch.pull('app')",
  "select perch.snapshot_records('app')",
  `select perch.patch_document('app', 'pages', 'p', '{"title": "x"}')`,
];

const undone = new Error("undone");

async function undo(db: Database, work: (tx: Transaction) => Promise<void>): Promise<void> {
  const error = await db
    .transaction(async (tx) => {
      await work(tx);
      await tx.query("set constraints all immediate");
      throw undone;
    })
    .catch((caught: unknown) => caught);
  if (error !== undone) throw error;
}

/**
 * In a new session Postgres reads its catalog, and compiles and plans each function, when they are first used: for the tests of a session that is
 * set back before each of them that is most of what they take. Here it is done once, in transactions that come to nothing.
 */
export async function warmUp(db: Database): Promise<void> {
  const of = (relkind: string) =>
    db.query<{ name: string }>(
      `select c.oid::regclass::text as name from pg_class c where c.relnamespace = 'perch'::regnamespace and c.relkind in (${relkind})`,
    );
  const state = await Promise.all(
    (await of("'S'")).map(async ({ name }) => {
      const [row] = await db.query<{ last_value: string; is_called: boolean }>(
        `select last_value, is_called from ${name}`,
      );
      return { name, ...row };
    }),
  );
  for (const { name } of await of("'r', 'v'")) await db.query(`select from ${name} limit 0`);
  await undo(db, async (tx) => {
    await tx.query(`select perch.declare_table('app', 'pages', '{"title": "string"}')`);
    await tx.query("set local role perch_app");
    await tx.query("select perch.set_context(user_id => 'ada')");
    for (const statement of asked) await tx.query(statement);
  });
  for (const { name, last_value, is_called } of state)
    await db.query("select setval($1, $2, $3)", [name, last_value, is_called]);
}
