import { migrate } from "../../../src/database/migrate.js";
import { openDatabase } from "../../../src/database/open.js";
import { durable, type PostgresServer, startPostgresServer } from "../../../test/support/postgres-server.js";
import { figure } from "../../support/figures.js";
import type { Benchmark, BenchmarkOptions } from "../benchmark.js";
import { type Race, race, showWaits } from "../race.js";
import { busy } from "./busy.js";
import { plans } from "./plans.js";
import { fill, pullAll, selectAll } from "./readers.js";
import { startWatcher } from "./watcher.js";
import { all, bareInsert, type Connections, connect, fiveStatements, push, yardsticks } from "./writers.js";

/** A database of its own on the server, migrated. */
async function database(postgres: PostgresServer, name: string, script = ""): Promise<string> {
  const admin = await openDatabase(postgres.url());
  await admin.query(`create database ${name}`);
  await admin.close();
  const db = await openDatabase(postgres.url(name));
  await migrate(db);
  await db.transaction((tx) => tx.script(yardsticks + script));
  await db.query("vacuum analyze");
  await db.query("checkpoint");
  await db.close();
  return postgres.url(name);
}

async function withConnections<T>(
  url: string,
  count: number,
  work: (connections: Connections) => Promise<T>,
): Promise<T> {
  const connections = await connect(url, count);
  try {
    return await work(connections);
  } finally {
    await connections.close();
  }
}

/**
 * Work of the change log against plain SQL that does less, on Postgres 18 that waits for the disk. Each pair runs in turns;
 * ratios are medians of the rounds' ratios. A worker watches, as with "perch start", unless a row says otherwise.
 */
async function run(options: BenchmarkOptions): Promise<void> {
  const postgres = await startPostgresServer({
    version: 18,
    settings: {
      ...durable,
      shared_buffers: "1GB",
      max_wal_size: "4GB",
    },
  });
  const rows: string[][] = [["a second", "perch", "other", "ratio", "at least"]];
  const add = (name: string, found: Race, atLeast?: number) => {
    const { ours, theirs, ratio } = found;
    showWaits(options, name, found);
    rows.push([name, figure(ours), figure(theirs), ratio.toFixed(2), atLeast === undefined ? "" : String(atLeast)]);
    options.print(rows.at(-1)?.join("   ") ?? "");
  };
  try {
    const url = await database(postgres, "bench");
    let watcher = await startWatcher(url);
    for (const count of [1, 8, 32]) {
      await withConnections(url, count, async (some) =>
        add(
          `push of 1, ${count} connections / bare INSERT`,
          await race(options, all(some, 1, push(1)), all(some, 1, bareInsert(1))),
          0.35,
        ),
      );
    }
    await withConnections(url, 1, async (one) => {
      const five = all(one, 1, fiveStatements);
      add("push of 1 / five statements", await race(options, all(one, 1, push(1)), five), 1.3);
      add("push of 100, each / five statements", await race(options, all(one, 100, push(100)), five), 8);
      add(
        "push of 100, each / bare INSERT of 100",
        await race(options, all(one, 100, push(100)), all(one, 100, bareInsert(100))),
        0.2,
      );
    });

    // Commits that take 2 ms: with commit_siblings 0 every one waits so long before it writes.
    const slow = `${url}?options=-c%20commit_delay%3D2000%20-c%20commit_siblings%3D0`;
    const quiet = await database(postgres, "quiet", "alter table perch.space_heads disable trigger user;");
    const slowQuiet = `${quiet}?options=-c%20commit_delay%3D2000%20-c%20commit_siblings%3D0`;
    await withConnections(slow, 32, (loud) =>
      withConnections(slowQuiet, 32, async (silent) => {
        const theirs = all(silent, 1, push(1));
        add(
          "push of 1, 32 connections, 2 ms commits / without NOTIFY",
          await race(options, all(loud, 1, push(1)), theirs),
          0.85,
        );
        await watcher.close();
        // Until the promise to watch has run out, writers would still not notify.
        await new Promise((done) => setTimeout(done, 2500));
        add(
          "the same with nobody watching: every push notifies / without NOTIFY",
          await race(options, all(loud, 1, push(1)), theirs),
        );
        watcher = await startWatcher(url);
      }),
    );
    await watcher.close();

    const shared = await database(postgres, "shared");
    const spaces = await busy(options, `${shared}?options=-c%20commit_delay%3D2000%20-c%20commit_siblings%3D0`);
    add("push of 1 to one space, 32 connections, 2 ms commits / to 32 spaces", spaces.sql, 0.6);
    add("push of 1 to one space, 32 HTTP clients, 2 ms commits / to 32 spaces", spaces.http, 0.6);

    const log = await database(postgres, "log", fill(100_000, 1));
    await withConnections(log, 1, async ({ clients }) => {
      const [client] = clients;
      if (client === undefined) return;
      await client.query(
        "select set_config('app.current_user_id', 'reader', false), set_config('app.current_user_space_ids', '{s1}', false)",
      );
      add(
        "pull of 100,000 in pages of 1,000 / SELECT as JSON",
        await race(options, pullAll(client, "reader"), selectAll(client, "s1")),
        0.5,
      );
      add(
        "the same, as jsonb in SQL / SELECT as JSON",
        await race(options, pullAll(client, "reader", "jsonb"), selectAll(client, "s1")),
      );
    });

    const small = await database(postgres, "small", fill(2000, 10));
    const large = await database(postgres, "large", fill(2_000_000, 10_000));
    const watchers = [await startWatcher(small), await startWatcher(large)];
    await withConnections(large, 1, (much) =>
      withConnections(small, 1, async (little) => {
        const inShared = (connections: Connections, count: number) =>
          all(
            connections,
            count,
            push(count, () => "s1"),
          );
        add("push of 1, log of 2,000,000 / of 2,000", await race(options, inShared(much, 1), inShared(little, 1)), 0.8);
        add(
          "push of 100, log of 2,000,000 / of 2,000",
          await race(options, inShared(much, 100), inShared(little, 100)),
          0.8,
        );
        const [one, other] = [much.clients[0], little.clients[0]];
        if (one && other)
          add(
            "pull, log of 2,000,000 / of 2,000",
            await race(options, pullAll(one, "reader"), pullAll(other, "reader")),
            0.8,
          );
      }),
    );
    for (const one of watchers) await one.close();
    options.print("");
    options.show(rows);
    options.print("\nPlans with 2,000,000 changes and 10,000 spaces:\n");
    for (const plan of await plans(large)) options.print(`${plan}\n`);
  } finally {
    await postgres.close();
  }
}

export const benchmark: Benchmark = {
  summary: "push and pull against plain SQL",
  run,
};
