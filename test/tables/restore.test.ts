import { expect, it } from "vitest";
import { backUp } from "../support/backup.js";
import { describeEachPostgres } from "../support/databases.js";
import { logOf, sequence, syncTable } from "./support.js";

describeEachPostgres("a dump of synced tables", (open) => {
  it("goes on where it is restored, with what had been captured and with what comes", async () => {
    const t = await open();
    await t.db.query("create table orders (id int primary key, team text, total numeric)");
    await syncTable(t.db, "orders", "space_column => 'team'");
    await t.db.query("insert into orders values (1, 'north', 1.50)");
    await sequence(t.db);
    await t.db.query("insert into orders values (2, 'north', 2.50)");
    const restore = await backUp(t);
    const restored = await restore();
    expect(await restored.query("select problems from perch.synced_tables")).toEqual([{ problems: [] }]);
    await restored.query("update orders set total = total + 1 where id = 1");
    await restored.query("delete from orders where id = 2");
    await sequence(restored);
    expect(await logOf(restored, "north")).toEqual([
      'insert orders/1 {"id": 1, "team": "north", "total": 1.50}',
      'insert orders/2 {"id": 2, "team": "north", "total": 2.50}',
      'update orders/1 {"total": 2.50}',
      "delete orders/2",
    ]);
  });
});
