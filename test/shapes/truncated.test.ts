import { expect, it } from "vitest";
import { readFilter } from "../../src/shapes/filter.js";
import { type Snapshot, showing } from "../../src/shapes/handle.js";
import { readRows, readSubset } from "../../src/shapes/queries.js";
import { makeSpace } from "../gateway/support.js";
import { describeEachPostgres } from "../support/databases.js";
import { underWay, until } from "../support/until.js";
import { syncTable } from "../tables/support.js";
import { operations } from "./support.js";

describeEachPostgres("a reader of rows that TRUNCATE takes away", (open) => {
  it.each([
    ["things", ""],
    ["others", "id in (select id from others)"],
  ])("knows that it happened where it shows: to %s, with the filter %s", async (truncated, where) => {
    const t = await open();
    await makeSpace(t, "red", "ada");
    for (const name of ["things", "others"]) {
      await t.db.query(`create table ${name} (id int primary key, team text default 'red')`);
      await t.db.query(`insert into ${name} (id) values (1), (2)`);
      await syncTable(t.db, name, "space_column => 'team'");
    }
    const filter = await readFilter(where, {}, "things");
    const query = { schema: "public", table: "things", columns: null, filter };
    const other = await t.connect();
    const rows = async () => {
      const from = { key: null, since: 0n, snapshot: undefined, maxBytes: 4_000_000 };
      const page = await t.asUser("ada", (tx) => readRows(tx, query, from));
      return { shown: operations(page).length, snapshot: page.snapshot };
    };
    const subset = async () => {
      const asked = { filter: null, order: null, limit: null, offset: 0, mark: 1 };
      const { messages, snapshot } = await t.asUser("ada", (tx) => readSubset(tx, query, asked));
      return { shown: messages === "" ? 0 : 2, snapshot };
    };
    for (const read of [rows, subset]) {
      const [reading, txid] = await other.transaction(async (tx) => {
        await tx.query(`truncate ${truncated}`);
        const began = underWay(read());
        await until(async () => {
          const [waiting] = await t.db.query(
            "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
          );
          return waiting !== undefined;
        }, "the reader to wait");
        const [row] = await tx.query<{ txid: string }>("select pg_current_xact_id()::text as txid");
        return [began, BigInt(row?.txid ?? 0)] as const;
      });
      const { shown, snapshot } = await reading;
      expect({ shown, isSeen: showing(snapshot as Snapshot)(txid) }).toEqual({ shown: 0, isSeen: true });
      await t.db.query(`insert into ${truncated} (id) values (1), (2)`);
    }
  });
});
