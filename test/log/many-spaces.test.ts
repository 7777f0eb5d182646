import { expect, it } from "vitest";
import { postgres } from "../support/databases.js";

const open = postgres();

it("a push of a hundred changes looks up its own space among ten thousand, and reads no others", async () => {
  const t = await open();
  await t.db.query(
    "insert into perch.space_heads (space_id, seq) select 'space' || n, n from generate_series(1, 10000) n",
  );
  await t.db.query("analyze perch.space_heads");
  const rowsRead = async () => {
    const [row] = await t.db.query<{ read: number }>(
      "select seq_tup_read as read from pg_stat_user_tables where relid = 'perch.space_heads'::regclass",
    );
    return row?.read;
  };
  const changes = Array.from({ length: 100 }, (_, n) => ({ op: "insert", table: "tasks", id: `t${n}`, data: { n } }));
  const before = await rowsRead();
  await t.asUser("ada", async (tx) => {
    await tx.query("select perch.push(app_id => 'todo', client_id => 'c', changes => $1::jsonb)", [
      JSON.stringify(changes),
    ]);
    await tx.query("select pg_stat_force_next_flush()");
  });
  expect(await rowsRead()).toBe(before);
});
