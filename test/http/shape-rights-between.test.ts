import { expect, it } from "vitest";
import { makeSpace, startNode } from "../gateway/support.js";
import { describeSomePostgres } from "../support/databases.js";
import { underWay, until } from "../support/until.js";
import { syncTable } from "../tables/support.js";
import { askShape, readShape } from "./shape-support.js";

describeSomePostgres("rules that change between the statements of a request of a shape", (open) => {
  it.each(["from the beginning", "behind its last position"])("make its reader fetch anew: %s", async (place) => {
    const t = await open();
    await makeSpace(t, "red", "ada");
    for (const name of ["things", "others"]) {
      await t.db.query(`create table ${name} (id int primary key, team text default 'red', n int)`);
      await syncTable(t.db, name, "space_column => 'team'");
    }
    await syncTable(t.db, "things", "space_column => 'team', row_filter => 'n > 1'");
    await t.db.query("insert into things (id, n) values (1, 1), (2, 2)");
    const node = await startNode(t);
    const query = { table: "things", where: "id in (select id from others) or id > 0" };
    const last = (await readShape(node, query)).at(-1);
    await t.db.query("update things set n = n + 5");
    const from: Record<string, string> =
      place === "from the beginning" || last === undefined
        ? { offset: "-1" }
        : { offset: last.offset, handle: last.handle };
    const other = await t.connect();
    const asked = await other.transaction(async (tx) => {
      // It opens the shape, and waits before it reads.
      await tx.query("lock table things in access exclusive mode");
      const asking = underWay(askShape(node, { ...query, ...from }));
      await until(async () => {
        const [waiting] = await t.db.query(
          "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        );
        return waiting !== undefined;
      }, "the reader to wait");
      await syncTable(tx, "things", "space_column => 'team', row_filter => 'true'");
      return [asking] as const;
    });
    const reply = await asked[0];
    // By the new rule it would be told of an update of a row that it never had.
    expect([reply.status, reply.body]).toEqual([409, [{ headers: { control: "must-refetch" } }]]);
    const again = await readShape(node, query);
    expect(again.flatMap(({ body }) => body).filter(({ key }) => key !== undefined)).toHaveLength(2);
  });
});
