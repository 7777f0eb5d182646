import type { PerchProcess } from "./perch-process.js";

/** What a process says of itself since it was last asked. */
export interface LoopProbe {
  /** How late its event loop was, ms. */
  readonly p99: number;
  readonly max: number;
  /** The most processor time that it took from one turn of a timer to the next, ms: whatever else the machine is doing. */
  readonly busiest: number;
  /** Resident memory after a garbage collection, bytes; of that, objects of this thread, and what they hold outside the heap. */
  readonly rss: number;
  readonly heapUsed: number;
  readonly external: number;
  /** Timers that are set. */
  readonly timers: number;
}

/** Measured within the process, so that whoever asks does not disturb it. */
const probe = `
import { readFileSync } from "node:fs";
import { isMainThread } from "node:worker_threads";
import { monitorEventLoopDelay } from "node:perf_hooks";
if (isMainThread) {
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  // Of the first thread of the process, in nanoseconds; where there is no such file, the clock has to do.
  const spent = () => {
    try {
      return Number(readFileSync("/proc/self/schedstat", "latin1").split(" ")[0]) / 1e6;
    } catch {
      return performance.now();
    }
  };
  let before = spent();
  let busiest = 0;
  setInterval(() => {
    const now = spent();
    busiest = Math.max(busiest, now - before);
    before = now;
  }, 5).unref();
  process.on("SIGUSR2", () => {
    const late = { p99: delay.percentile(99) / 1e6, max: delay.max / 1e6, busiest };
    // What a first collection finds dead is swept beside, and given back by the second.
    globalThis.gc();
    setTimeout(() => {
      globalThis.gc();
      const { rss, heapUsed, external } = process.memoryUsage();
      const timers = process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
      process.stderr.write("probe " + JSON.stringify({ ...late, rss, heapUsed, external, timers }) + "\\n");
    }, 100);
    setTimeout(() => {
      delay.reset();
      before = spent();
      busiest = 0;
    }, 150);
  });
}`;

/** Arguments of node with which a process can be asked. */
export const probeArgs = ["--expose-gc", "--import", `data:text/javascript,${encodeURIComponent(probe)}`];

const unknown: LoopProbe = {
  p99: Number.NaN,
  max: Number.NaN,
  busiest: Number.NaN,
  rss: Number.NaN,
  heapUsed: Number.NaN,
  external: Number.NaN,
  timers: Number.NaN,
};

/** Asks a process that was started with `probeArgs`. */
export async function askProbe(perch: PerchProcess): Promise<LoopProbe> {
  const answers = () => perch.output.split("\n").filter((line) => line.startsWith("probe "));
  const before = answers().length;
  if (perch.pid !== undefined && !perch.ended) process.kill(perch.pid, "SIGUSR2");
  const deadline = Date.now() + 30_000;
  while (answers().length === before) {
    if (perch.ended || Date.now() > deadline) return unknown;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
  return JSON.parse(answers().at(-1)?.slice("probe ".length) ?? "") as LoopProbe;
}
