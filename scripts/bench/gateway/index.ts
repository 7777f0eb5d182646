import { openDatabase } from "../../../src/database/open.js";
import { figure, median } from "../../support/figures.js";
import type { Benchmark, BenchmarkOptions } from "../benchmark.js";
import { measureIdle } from "./idle.js";
import { measureLargeKeystroke, measureLateJoin } from "./large.js";
import { measureReaders } from "./readers.js";
import { type Servers, startServers } from "./servers.js";
import { measureTyping } from "./typing.js";

/** How long Postgres takes here for the smallest durable thing. */
async function commitTime({ databaseUrl }: Servers): Promise<number> {
  const db = await openDatabase(databaseUrl);
  try {
    await db.query("create table commits (number int)");
    const times: number[] = [];
    for (let number = 0; number < 300; number++) {
      const started = performance.now();
      await db.query("insert into commits values ($1)", [number]);
      times.push(performance.now() - started);
    }
    return median(times);
  } finally {
    await db.close();
  }
}

/**
 * perch on Postgres 18, where every keystroke is on disk before it is acknowledged or shown, against the reference server of the
 * protocol, which keeps it in memory; against hocuspocus on the same Postgres, which stores documents later; and against the least
 * that a server could do. Each is a process of its own, and so are the clients that type; they are measured one after the other, in turns.
 * Figures are medians over the rounds, ratios medians of the rounds' ratios.
 */
async function run(options: BenchmarkOptions): Promise<void> {
  const { print } = options;
  // Each client listens for this process going online and offline.
  process.setMaxListeners(0);
  const servers = await startServers();
  try {
    const commit = figure(await commitTime(servers), "ms");
    print(`A row is committed on this machine in ${commit} (p50): what no durable server can be faster than.\n`);
    const verdicts = [
      ...(await measureTyping(servers, options)),
      ...(await measureLargeKeystroke(servers, options)),
      ...(await measureLateJoin(servers, options)),
      ...(await measureReaders(servers, options)),
      ...(await measureIdle(servers, options)),
    ];
    print(verdicts.join("\n"));
  } finally {
    await servers.stop();
  }
}

export const benchmark: Benchmark = {
  summary:
    "the gateway: keystrokes, large documents, late joins and many readers, against others and against the limit",
  run,
};
