/** Tables that a subscription of logical replication writes. */
import { describe, expect, it, onTestFinished } from "vitest";
import { migrate } from "../../src/database/migrate.js";
import { openPostgres } from "../../src/database/postgres.js";
import { type PostgresVersion, postgresBinaries, startPostgresServer } from "../support/postgres-server.js";
import { until } from "../support/until.js";
import { logOf, sequence, syncTable } from "./support.js";

const versions: PostgresVersion[] = [18, 15];

describe.each(versions.filter((version) => postgresBinaries(version) !== undefined))(
  "a subscription on Postgres %i",
  (version) => {
    it("is captured where the table is synced always: what it copies, and what its applier writes; and so is what is prepared", async () => {
      const server = await startPostgresServer({
        version,
        settings: { wal_level: "logical", max_prepared_transactions: 2 },
      });
      onTestFinished(() => server.close());
      const source = openPostgres({ url: server.url() });
      onTestFinished(() => source.close());
      const table = "create table orders (id int primary key, team text, title text)";
      await source.query("create database target");
      await source.query(table);
      await source.query("insert into orders values (1, 'north', 'a')");
      await source.query("create publication orders for table orders");
      // Within one server it cannot make its slot itself.
      await source.query("select pg_create_logical_replication_slot('orders', 'pgoutput')");
      const target = openPostgres({ url: server.url("target") });
      onTestFinished(() => target.close());
      await migrate(target);
      await target.query(table);
      await syncTable(target, "orders", "space_column => 'team', always => true");
      await target.outside?.([
        `create subscription orders connection 'host=127.0.0.1 port=${server.port} user=postgres dbname=postgres'
           publication orders with (create_slot = false, slot_name = 'orders')`,
      ]);
      const has = (rows: number, titles: string) =>
        until(async () => {
          const [row] = await target.query<{ rows: number; titles: string }>(
            "select count(*)::int as rows, string_agg(title, ',' order by id) as titles from orders",
          );
          return row?.rows === rows && row.titles === titles;
        }, `the subscriber to have ${titles}`);
      await has(1, "a");
      await source.query("insert into orders values (2, 'north', 'b'), (3, 'north', 'c')");
      await source.query("update orders set title = 'd' where id > 1");
      await source.query("delete from orders where id = 1");
      await has(2, "d,d");
      await source.query("truncate orders");
      await until(async () => (await target.query("select from orders")).length === 0);
      await sequence(target);
      expect((await logOf(target, "north")).map((line) => line.replace(/"id".*"title"/, '"title"'))).toEqual([
        'insert orders/1 {"title": "a"}',
        'insert orders/2 {"title": "b"}',
        'insert orders/3 {"title": "c"}',
        'update orders/2 {"title": "d"}',
        'update orders/3 {"title": "d"}',
        "delete orders/1",
        "delete orders/2",
        "delete orders/3",
      ]);
      // Nor does a transaction that is prepared notify, of a login that says so, or of another node of Citus; also where it writes a document.
      await target.query("create table notes (id int primary key, team text, body text)");
      await syncTable(target, "notes", `space_column => 'team', documents => '{"body": "text"}'`);
      await target.query("insert into notes values (1, 'south', 'words'), (2, 'south', 'words')");
      await target.query("select perch.adopt_row('south', 'shop', 'notes', n::text) from generate_series(1, 2) n");
      const writes = async () => (await target.query("select from perch.column_writes")).length;
      const before = await writes();
      const mayBePrepared = [
        "perch.watched_until = 'infinity'",
        "application_name = 'citus_internal gpid=10000000042'",
      ];
      for (const [nth, setting] of mayBePrepared.entries()) {
        await target.outside?.([
          `set ${setting}`,
          "begin",
          `insert into orders values (${4 + nth}, 'south', 'e')`,
          `update notes set body = 'other words' where id = ${1 + nth}`,
          "prepare transaction 'together'",
        ]);
        // Until it is committed it delays nobody else in its space.
        await target.query(`insert into orders values (${10 + nth}, 'south', 'f')`);
        await sequence(target);
        const inserted = async () => (await logOf(target, "south")).filter((line) => line.startsWith("insert orders/"));
        expect((await inserted()).map((line) => /orders\/\d+/.exec(line)?.[0])).toEqual(
          [["orders/10"], ["orders/10", "orders/4", "orders/11"]][nth],
        );
        await target.outside?.(["commit prepared 'together'"]);
        await sequence(target);
      }
      expect((await logOf(target, "south")).filter((line) => line.startsWith("insert orders/")).length).toBe(4);
      expect(await writes()).toBe(before + 2);
      await target.outside?.([
        "alter subscription orders disable",
        "alter subscription orders set (slot_name = none)",
        "drop subscription orders",
      ]);
    });
  },
);
