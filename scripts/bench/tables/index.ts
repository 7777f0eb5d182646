import pg from "pg";
import { migrate } from "../../../src/database/migrate.js";
import { openDatabase } from "../../../src/database/open.js";
import { durable, type PostgresServer, startPostgresServer } from "../../../test/support/postgres-server.js";
import { figure, quantile } from "../../support/figures.js";
import type { Benchmark, BenchmarkOptions } from "../benchmark.js";
import { type Race, race, showWaits, type Work } from "../race.js";
import { delays } from "./delays.js";
import { type Pushed, pushed, pushing, syncPushed } from "./pushes.js";
import { startSequencing } from "./sequencing.js";
import { type Backlog, backlog, bulk, contestants, type Kind, reset } from "./writers.js";

async function database(postgres: PostgresServer): Promise<string> {
  const admin = await openDatabase(postgres.url());
  await admin.query("create database tables");
  await admin.close();
  const db = await openDatabase(postgres.url("tables"));
  await migrate(db);
  await db.transaction((tx) => tx.script(contestants + pushed));
  await db.query("select perch.sync_table(relation => 'synced', app_id => 'bench', space_column => 'team')");
  await db.query(syncPushed);
  await db.query("vacuum analyze");
  await db.close();
  return postgres.url("tables");
}

/** Connections that repeat a statement, each on rows of its own. */
async function writing(
  url: string,
  count: number,
  kind: Kind,
  what: "insert" | "update",
): Promise<Work & { end(): Promise<void> }> {
  const clients = await Promise.all(
    Array.from({ length: count }, async () => {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      return client;
    }),
  );
  const work = async (deadline: number, took: (ms: number) => void) => {
    let done = 0;
    await Promise.all(
      clients.map(async (client, nth) => {
        while (performance.now() < deadline) {
          const started = performance.now();
          if (what === "insert") {
            await client.query({
              name: `i${kind}`,
              text: `insert into ${kind} (team, title, done, points) values ('team', $1, false, $2)`,
              values: [`Buy milk ${done}`, done],
            });
          } else {
            await client.query({
              name: `u${kind}`,
              text: `update ${kind} set title = $2, points = points + 1 where id = $1`,
              values: [-1 - nth, `Buy milk ${done}`],
            });
          }
          took(performance.now() - started);
          done++;
        }
      }),
    );
    return done;
  };
  return Object.assign(work, { end: async () => void (await Promise.all(clients.map((client) => client.end()))) });
}

/** Resolves when all that was captured has its number. */
async function drained(url: string): Promise<void> {
  const db = await openDatabase(url);
  for (let left = true; left; ) {
    const [row] = await db.query<{ left: boolean }>("select perch.has_captured() as left");
    left = row?.left === true;
    if (left) await new Promise((done) => setTimeout(done, 100));
  }
  await db.close();
}

/** What is measured, and where. */
interface World {
  readonly options: BenchmarkOptions;
  readonly url: string;
  add(name: string, found: Race, atLeast?: number): void;
  pair(
    name: string,
    url: string,
    count: number,
    what: "insert" | "update",
    other: Kind,
    atLeast?: number,
  ): Promise<void>;
}

const slowCommits = "options=-c%20commit_delay%3D2000%20-c%20commit_siblings%3D0";

const parts: Readonly<Record<string, (world: World) => Promise<void>>> = {
  async rows({ url, pair }) {
    const stop = await startSequencing(url);
    for (const what of ["insert", "update"] as const) {
      for (const count of [1, 8, 32]) {
        await pair(`${what} of a row, ${count} connections / without perch`, url, count, what, "plain", 0.65);
        await pair(`${what} of a row, ${count} connections / audit trigger`, url, count, what, "audited", 0.85);
      }
    }
    await stop();
  },

  async commits({ url, pair }) {
    const stop = await startSequencing(url);
    const slow = `${url}?${slowCommits}`;
    await pair("insert of a row, 32 connections, 2 ms commits / without perch", slow, 32, "insert", "plain", 0.9);
    await stop();
  },

  async pushes({ url, options, add }) {
    const stop = await startSequencing(url);
    const against = async (count: number, other: Pushed, atLeast?: number) => {
      const [ours, theirs] = [await pushing(url, "typed rows", count), await pushing(url, other, count)];
      add(`push of ${count} typed, each / ${other}`, await race(options, ours, theirs), atLeast);
      await ours.end();
      await theirs.end();
    };
    await against(100, "without perch", 0.15);
    await against(100, "plain records", 0.6);
    await against(1, "without perch");
    await against(1, "plain records");
    await stop();
  },

  async delays({ url, options }) {
    const stop = await startSequencing(url);
    // What the races left would be in front of it.
    await drained(url);
    const { beyondBare, captured, bare } = await delays(url, options.seconds);
    options.distribution("from COMMIT to a reader who listens, at 500 writes a second", "ms", {
      perch: captured,
      "a bare LISTEN and SELECT": bare,
    });
    options.print(
      `from COMMIT to the page of a reader who listens, at 500 writes/s: p50 ${figure(quantile(captured, 0.5), "ms")}, p99 ${figure(quantile(captured, 0.99), "ms")}; ` +
        `beyond a bare LISTEN and SELECT: p50 ${figure(beyondBare(0.5), "ms")} (at most 10), p99 ${figure(beyondBare(0.99), "ms")} (at most 60)`,
    );
    await stop();
  },

  async bulk({ url, options, add }) {
    const limits = { update: [0.3, 1.0], insert: [0.35, 1.5], copy: [0.35, 1.5] } as const;
    for (const what of ["update", "insert", "copy"] as const) {
      const found = await bulk(url, what, options.rounds);
      add(`${what} of 100,000 rows in one statement / without perch`, found.plain, limits[what][0]);
      add(`${what} of 100,000 rows in one statement / audit trigger`, found.audited, limits[what][1]);
    }
  },

  async backlog({ url, options, add }) {
    await reset(url);
    const sequenced: Backlog = await backlog(url);
    add(`sequencing a backlog of ${sequenced.count.toLocaleString("en-US")} / bare INSERT … SELECT`, sequenced, 0.3);
    options.print(
      `counters held: p50 ${figure(quantile(sequenced.held, 0.5), "ms")}, p99 ${figure(quantile(sequenced.held, 0.99), "ms")}, longest ${figure(Math.max(...sequenced.held), "ms")} (under 20); memory of the backend grew by ${figure(sequenced.grownBytes / 1024 / 1024, "MB")}`,
    );
  },
};

async function run(options: BenchmarkOptions): Promise<void> {
  const postgres = await startPostgresServer({
    version: 18,
    settings: {
      ...durable,
      shared_buffers: "1GB",
      max_wal_size: "8GB",
      max_connections: 150,
    },
  });
  const rows: string[][] = [["a second", "perch", "other", "ratio", "at least"]];
  const add: World["add"] = (name, found, atLeast) => {
    const { ours, theirs, ratio } = found;
    showWaits(options, name, found);
    rows.push([name, figure(ours), figure(theirs), ratio.toFixed(2), atLeast === undefined ? "" : String(atLeast)]);
    options.print(rows.at(-1)?.join("   ") ?? "");
  };
  const pair: World["pair"] = async (name, url, count, what, other, atLeast) => {
    const [ours, theirs] = [await writing(url, count, "synced", what), await writing(url, count, other, what)];
    add(name, await race(options, ours, theirs), atLeast);
    await ours.end();
    await theirs.end();
  };
  try {
    const url = await database(postgres);
    for (const [name, part] of Object.entries(parts)) {
      if (options.parts.length > 0 && !options.parts.includes(name)) continue;
      await part({ options, url, add, pair });
    }
    options.print("");
    options.show(rows);
  } finally {
    await postgres.close();
  }
}

export const benchmark: Benchmark = {
  summary: "capturing and sequencing synced tables against the same tables without, and with an audit trigger",
  run,
};
