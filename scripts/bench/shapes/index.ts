import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { openDatabase } from "../../../src/database/open.js";
import { startPostgresServer } from "../../../test/support/postgres-server.js";
import { figure, median, quantile } from "../../support/figures.js";
import { type PerchProcess, perchProcess } from "../../support/perch-process.js";
import type { Benchmark, BenchmarkOptions } from "../benchmark.js";
import { copyOut } from "./copy.js";
import { deviceTimes } from "./device.js";
import { firstSync, liveReaders, waitIdle, waitingAt } from "./readers.js";

const copied = [100_000, 1_000_000];
const mutations = 200;
const readers = 1_000;
const filters = 100;
const writesPerSecond = 200;
const idle = 10_000;

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
  while ((await waitingAt(perch.httpUrl)) < readers) await sleep(20);
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
  // What is still on its way counts as well.
  for (let count = -1; count !== delays.length; await sleep(2_000)) count = delays.length;
  const after = await held(perch);
  running.stop();
  return { delays, cpu: after.seconds - before.seconds, writes: committed.size };
}

/** A database of its own, and perch on it. */
interface World {
  readonly perch: PerchProcess;
  readonly client: pg.Client;
  readonly options: BenchmarkOptions;
  /** A row of the table: what, perch's figure, what it is against, their ratio, and what that should be. */
  add(row: readonly string[]): void;
}

async function sync({ perch, client, options: { rounds }, add }: World): Promise<void> {
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
    let [ours, theirs, parsed] = [0, 0, 0];
    for (let round = 0; round < (count > 100_000 ? Math.min(rounds, 2) : rounds); round++) {
      let at = performance.now();
      const { rows: synced, parsing } = await firstSync(perch.httpUrl, name, "reader0");
      ours = (synced * 1_000) / (performance.now() - at);
      parsed = (synced * 1_000) / parsing;
      at = performance.now();
      const copy = await copyOut(client, `copy (select * from ${name}) to stdout`);
      theirs = (copy * 1_000) / (performance.now() - at);
      if (synced !== count || copy !== count) throw new Error(`${synced} and ${copy} of ${count} rows came`);
      ratios.push(ours / theirs);
    }
    clearInterval(sampling);
    add([
      `first sync of ${figure(count)} rows, rows/s, against COPY`,
      ...[figure(ours), figure(theirs), median(ratios).toFixed(2), "0.35"],
    ]);
    add([
      "what a client parses of that text, rows/s, against COPY",
      ...[figure(parsed), figure(theirs), (parsed / theirs).toFixed(2), ""],
    ]);
    add([
      "memory while it runs, and before, MB",
      ...[figure(most / 1e6), figure(start.bytes / 1e6), (most / start.bytes).toFixed(2), ""],
    ]);
  }
}

async function manyReaders({ perch, client, options, add }: World): Promise<void> {
  await makeLiveItems(client);
  const many = await timed(perch, client, (nth) => `n = ${nth % filters}`, options.seconds);
  const one = await timed(perch, client, () => "n = 0", options.seconds);
  options.distribution(`from COMMIT to ${figure(readers)} readers of a shape`, "ms", {
    [`${filters} filters`]: many.delays,
    "one filter": one.delays,
  });
  const p99 = [quantile(many.delays, 0.99), quantile(one.delays, 0.99)] as const;
  add([
    `${figure(readers)} readers, ${filters} filters, ${figure(many.writes / options.seconds)} writes/s: p99 ms against one filter`,
    ...[figure(p99[0]), figure(p99[1]), (p99[0] / p99[1]).toFixed(2), "at most 2"],
  ]);
  add([
    "their processor time, s",
    ...[figure(many.cpu), figure(one.cpu), (many.cpu / one.cpu).toFixed(2), "at most 3"],
  ]);
}

async function idleReaders({ perch, client, add }: World): Promise<void> {
  await makeLiveItems(client);
  for (const kind of ["long poll", "stream"] as const) {
    // Begun anew: in memory that the others have left these would seem to need little.
    await perch.stop();
    await perch.start();
    const before = await settled(perch);
    const waiting = await waitIdle(perch.httpUrl, "live_items", idle, kind === "stream");
    const after = await settled(perch);
    add([
      `an idle ${kind} of ${figure(idle)}, kB`,
      ...[figure((after.bytes - before.bytes) / idle / 1e3), "", "", "at most 20"],
    ]);
    if (waiting.ended() > 0) throw new Error(`${waiting.ended()} of ${idle} did not wait`);
    await waiting.stop();
  }
}

async function device({ perch, client, options, add }: World): Promise<void> {
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
  options.distribution("a mutation on a device", "ms", {
    "shows there": times.visible,
    "is acknowledged, and its echo there": times.acknowledged,
    "another device has it": times.echoed,
  });
  for (const [name, values] of steps) {
    add([name, figure(quantile(values, 0.5)), figure(quantile(values, 0.99)), "", ""]);
  }
}

const makeLiveItems = (client: pg.Client) =>
  client.query(
    "create table if not exists live_items (id bigint generated always as identity primary key, n int, title text)",
  );

/** When it has been doing next to nothing for a second. */
async function settled(perch: PerchProcess) {
  for (let before = await held(perch); ; ) {
    await sleep(1_000);
    const now = await held(perch);
    if (now.seconds - before.seconds < 0.1) return now;
    before = now;
  }
}

const parts: Readonly<Record<string, (world: World) => Promise<void>>> = {
  sync,
  readers: manyReaders,
  idle: idleReaders,
  device,
};

async function run(options: BenchmarkOptions): Promise<void> {
  const postgres = await startPostgresServer({
    version: 18,
    settings: { shared_buffers: "512MB", max_connections: 100 },
  });
  const admin = await openDatabase(postgres.url());
  const heading = ["work", "perch", "against", "ratio", "at least"];
  const rows: (readonly string[])[] = [heading];
  for (const [name, part] of Object.entries(parts)) {
    if (options.parts.length > 0 && !options.parts.includes(name)) continue;
    await admin.query(`create database shapes_${name}`);
    const url = postgres.url(`shapes_${name}`);
    const perch = await perchProcess({
      env: {
        ...{ DATABASE_URL: url, PERCH_MAX_SOCKETS_PER_ADDRESS: "0", LOG_LEVEL: "error" },
        // Whoever is idle stays so while it is measured.
        ...(part === idleReaders && { PERCH_SHAPE_WAIT_MS: "600000", PERCH_SHAPE_STREAM_MS: "600000" }),
      },
    });
    await perch.start();
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    const add = (row: readonly string[]) => {
      rows.push(row);
      options.print(row.join("  "));
    };
    await part({ perch, client, options, add });
    await client.end();
    await perch.stop();
  }
  options.show(rows);
  await admin.close();
  await postgres.close();
}

export const benchmark: Benchmark = {
  summary: "shapes: the first snapshot against COPY, many filters against one, idle readers, a device's writes",
  run,
};
