import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { WebSocket } from "ws";
import { openDatabase } from "../../src/database/open.js";
import type { Database } from "../../src/database/types.js";
import { startPostgresServer } from "../../test/support/postgres-server.js";
import { figure, median, quantile, table } from "../support/figures.js";
import { freePort } from "../support/free-port.js";
import { perchProcess } from "../support/perch-process.js";
import type { Benchmark, BenchmarkOptions } from "./benchmark.js";
import { openPair } from "./typists.js";

interface Run {
  editsPerSecond: number;
  p50: number;
  p99: number;
}

/** Lets every pair type for a while, all documents at once, in documents that are new. */
async function typeFor(seconds: number, url: string, rooms: readonly string[]): Promise<Run> {
  const pairs = await Promise.all(rooms.map((room) => openPair(url, room)));
  const warm = performance.now() + 300;
  await Promise.all(pairs.map((pair) => pair.type(warm)));
  const started = performance.now();
  const waits = (await Promise.all(pairs.map((pair) => pair.type(started + seconds * 1000)))).flat();
  const elapsed = (performance.now() - started) / 1000;
  for (const pair of pairs) pair.leave();
  return { editsPerSecond: waits.length / elapsed, p50: quantile(waits, 0.5), p99: quantile(waits, 0.99) };
}

/** How long Postgres takes here for the smallest durable thing. */
async function commitTime(db: Database): Promise<number> {
  await db.query("create table commits (number int)");
  const times: number[] = [];
  for (let number = 0; number < 300; number++) {
    const started = performance.now();
    await db.query("insert into commits values ($1)", [number]);
    times.push(performance.now() - started);
  }
  return median(times);
}

async function startReference(): Promise<{ url: string; stop(): void }> {
  const port = await freePort();
  const child = fork(fileURLToPath(new URL("reference-server.js", import.meta.url)), [String(port)]);
  await new Promise<void>((resolve, reject) => {
    child.once("message", () => resolve());
    child.once("exit", (code) => reject(new Error(`the reference server ended with ${code}`)));
  });
  return { url: `ws://127.0.0.1:${port}/`, stop: () => child.kill() };
}

/**
 * Keystroke to the other client: perch on Postgres 18, where every keystroke is committed to disk before it is acknowledged or shown,
 * against the reference server of the protocol, which keeps it in memory. Both run as processes of their own, one after the
 * other in turns, with the clients in this process; figures are medians over the rounds, ratios medians of the rounds' ratios.
 */
async function run({ rounds, seconds, print }: BenchmarkOptions): Promise<void> {
  (globalThis as { WebSocket?: unknown }).WebSocket = WebSocket;
  // Each client listens for this process going online and offline.
  process.setMaxListeners(0);
  const postgres = await startPostgresServer({
    version: 18,
    settings: { fsync: "on", synchronous_commit: "on", full_page_writes: "on" },
  });
  const perch = await perchProcess({ env: { DATABASE_URL: postgres.url() } });
  const reference = await startReference();
  try {
    await perch.start();
    const admin = await openDatabase(postgres.url());
    await admin.query("select perch.declare_table(app_id => 'bench', table_name => 'notes', fields => $1::jsonb)", [
      JSON.stringify({ body: "text" }),
    ]);
    const commit = await commitTime(admin);
    await admin.close();
    print(
      `A row is committed on this machine in ${figure(commit, "ms")} (p50): what no durable server can be faster than.\n`,
    );

    for (const documents of [10, 1]) {
      const runs: { perch: Run; reference: Run }[] = [];
      for (let round = 0; round <= rounds; round++) {
        const rooms = Array.from({ length: documents }, (_, index) => `/bench/notes/${documents}-${round}-${index}`);
        const measure = {
          perch: () => typeFor(seconds, `${perch.url}?token=typist`, rooms),
          reference: () => typeFor(seconds, reference.url, rooms),
        };
        // Who goes first takes turns too.
        const first = round % 2 === 0 ? "perch" : "reference";
        const one = await measure[first]();
        const two = await measure[first === "perch" ? "reference" : "perch"]();
        // The first round warms both up.
        if (round > 0) runs.push(first === "perch" ? { perch: one, reference: two } : { perch: two, reference: one });
      }
      const row = (name: string, key: keyof Run, unit: string, better: (run: (typeof runs)[number]) => number) => [
        name,
        figure(median(runs.map((run) => run.perch[key])), unit),
        figure(median(runs.map((run) => run.reference[key])), unit),
        figure(median(runs.map(better))),
      ];
      const faster = (key: "p50" | "p99") => (run: (typeof runs)[number]) => run.reference[key] / run.perch[key];
      print(
        table([
          [documents === 1 ? "1 document" : `${documents} documents`, "perch", "reference", "perch is faster by"],
          row("edits/s", "editsPerSecond", "", (run) => run.perch.editsPerSecond / run.reference.editsPerSecond),
          row("p50, keystroke to reader", "p50", "ms", faster("p50")),
          row("p99, keystroke to reader", "p99", "ms", faster("p99")),
        ]),
      );
      print("");
    }
  } finally {
    reference.stop();
    await perch.stop();
    await postgres.close();
  }
}

export const benchmark: Benchmark = {
  summary: "keystroke to the other client, against the reference server in memory",
  run,
};
