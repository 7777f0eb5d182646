import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { openDatabase } from "../../../src/database/open.js";
import { startPostgresServer } from "../../../test/support/postgres-server.js";
import { figure, median, quantile, table } from "../../support/figures.js";
import { type PerchProcess, perchProcess } from "../../support/perch-process.js";
import type { Benchmark, BenchmarkOptions } from "../benchmark.js";
import { copyOut } from "./copy.js";
import { deviceTimes } from "./device.js";
import { firstSync, idleStreams, liveReaders } from "./readers.js";

const copied = [100_000, 1_000_000];
const mutations = 200;
const readers = 1_000;
const filters = 100;
const writesPerSecond = 200;
const idle = 2_000;

/** What a process holds in memory, and the processor time that it took. */
async function held(perch: PerchProcess): Promise<{ bytes: number; seconds: number }> {
  const status = await readFile(`/proc/${perch.pid}/status`, "utf8");
  const stat = (await readFile(`/proc/${perch.pid}/stat`, "utf8")).split(") ")[1]?.split(" ") ?? [];
  const [, kilobytes = "0"] = /VmRSS:\s+(\d+)/.exec(status) ?? [];
  return { bytes: Number(kilobytes) * 1024, seconds: (Number(stat[11]) + Number(stat[12])) / 100 };
}

/** Writes at a steady rate, and times each row from its commit to the readers that it is for. */
async function timed(perch: PerchProcess, client: pg.Client, filterOf: (nth: number) => string, seconds: number) {
  const committed = new Map<string, number>();
  const early = new Map<string, number[]>();
  const delays: number[] = [];
  const took = ({ id = "" }: Record<string, string>) => {
    const now = performance.now();
    const at = committed.get(id);
    if (at !== undefined) delays.push(now - at);
    else early.set(id, [...(early.get(id) ?? []), now]);
  };
  const running = liveReaders(perch.httpUrl, "live_items", readers, filterOf, took);
  await running.waiting;
  const before = await held(perch);
  const began = performance.now();
  for (let written = 0; performance.now() - began < seconds * 1_000; written++) {
    const { rows } = await client.query(
      "insert into live_items (n, title) values ($1, 'Buy milk') returning id::text as id",
      [written % filters],
    );
    committed.set(rows[0].id, performance.now());
    for (const at of early.get(rows[0].id) ?? []) delays.push(Math.max(0, at - performance.now()));
    const early_ = began + ((written + 1) * 1_000) / writesPerSecond - performance.now();
    if (early_ > 0) await sleep(early_);
  }
  await sleep(1_000);
  const after = await held(perch);
  running.stop();
  return { delays, cpu: after.seconds - before.seconds, writes: committed.size };
}

async function run({ rounds, seconds, print }: BenchmarkOptions): Promise<void> {
  const postgres = await startPostgresServer({
    version: 18,
    settings: { shared_buffers: "512MB", max_connections: 100 },
  });
  const admin = await openDatabase(postgres.url());
  await admin.query("create database shapes");
  await admin.close();
  const perch = await perchProcess({
    env: { DATABASE_URL: postgres.url("shapes"), PERCH_MAX_SOCKETS_PER_ADDRESS: "0", LOG_LEVEL: "error" },
  });
  await perch.start();
  const client = new pg.Client({ connectionString: postgres.url("shapes") });
  await client.connect();
  await client.query("create table live_items (id bigint generated always as identity primary key, n int, title text)");
  const rows = [["work", "perch", "against", "ratio", "at least"]];
  for (const count of copied) {
    const name = `items_${count}`;
    await client.query(
      `create table ${name} (id bigint primary key, team text, title text, done boolean, points numeric, at timestamptz)`,
    );
    await client.query(
      `insert into ${name} select g, 'team', 'Buy milk ' || g, g % 2 = 0, g * 1.5, now() from generate_series(1, ${count}) g`,
    );
    await client.query(`vacuum analyze ${name}`);
    await firstSync(perch.httpUrl, name, "reader0");
    const start = await held(perch);
    let most = 0;
    const sampling = setInterval(async () => {
      most = Math.max(most, (await held(perch)).bytes);
    }, 50);
    const ratios: number[] = [];
    let [ours, theirs] = [0, 0];
    for (let round = 0; round < (count > 100_000 ? Math.min(rounds, 2) : rounds); round++) {
      let at = performance.now();
      const synced = await firstSync(perch.httpUrl, name, "reader0");
      ours = (synced * 1_000) / (performance.now() - at);
      at = performance.now();
      const copy = await copyOut(client, `copy (select * from ${name}) to stdout`);
      theirs = (copy * 1_000) / (performance.now() - at);
      if (synced !== count || copy !== count) throw new Error(`${synced} and ${copy} of ${count} rows came`);
      ratios.push(ours / theirs);
    }
    clearInterval(sampling);
    rows.push([
      `first sync of ${figure(count)} rows, rows/s, against COPY`,
      ...[figure(ours), figure(theirs), median(ratios).toFixed(2), "0.35"],
    ]);
    rows.push([
      "memory while it runs, and before, MB",
      ...[figure(most / 1e6), figure(start.bytes / 1e6), (most / start.bytes).toFixed(2), ""],
    ]);
    print((rows.at(-2) ?? []).join("  "));
  }

  const many = await timed(perch, client, (nth) => `n = ${nth % filters}`, seconds);
  const one = await timed(perch, client, () => "n = 0", seconds);
  const p99 = [quantile(many.delays, 0.99), quantile(one.delays, 0.99)] as const;
  rows.push([
    `${figure(readers)} readers, ${filters} filters, ${figure(many.writes / seconds)} writes/s: p99 ms against one filter`,
    ...[figure(p99[0]), figure(p99[1]), (p99[0] / p99[1]).toFixed(2), "at most 2"],
  ]);
  rows.push([
    "their processor time, s",
    figure(many.cpu),
    figure(one.cpu),
    (many.cpu / one.cpu).toFixed(2),
    "at most 3",
  ]);

  await sleep(2_000);
  const quiet = await held(perch);
  const polls = liveReaders(
    perch.httpUrl,
    "live_items",
    idle,
    () => "id < 0",
    () => undefined,
  );
  await polls.waiting;
  await sleep(1_000);
  const polled = await held(perch);
  rows.push([
    `an idle long poll of ${figure(idle)}, kB`,
    figure((polled.bytes - quiet.bytes) / idle / 1e3),
    "",
    "",
    "at most 20",
  ]);
  const streams = await idleStreams(perch.httpUrl, "live_items", idle);
  await sleep(1_000);
  const streamed = await held(perch);
  rows.push([
    `an idle stream of ${figure(idle)}, kB`,
    figure((streamed.bytes - polled.bytes) / idle / 1e3),
    "",
    "",
    "at most 20",
  ]);
  streams.stop();
  polls.stop();

  await client.query("create table notes (id text primary key, team text not null, title text)");
  await client.query(
    `select perch.sync_table(relation => 'notes', app_id => 'bench', space_column => 'team', writable_columns => '{title}')`,
  );
  await client.query("begin");
  await client.query("select perch.set_context('writer'), perch.create_space('team')");
  await client.query("select perch.set_space_member('team', 'follower', 'viewer')");
  await client.query("commit");
  const times = await deviceTimes(perch.httpUrl, { appId: "bench", table: "notes", space: "team" }, mutations);
  const steps = [
    ["a mutation on a device shows there: p50, p99 ms", times.visible],
    ["it is acknowledged, and its echo there", times.acknowledged],
    ["another device has it", times.echoed],
  ] as const;
  for (const [name, values] of steps) {
    rows.push([name, figure(quantile(values, 0.5)), figure(quantile(values, 0.99)), "", ""]);
  }
  print(table(rows));
  await client.end();
  await perch.stop();
  await postgres.stop();
}

export const benchmark: Benchmark = {
  summary: "shapes: the first snapshot against COPY, many filters against one, idle readers",
  run,
};
