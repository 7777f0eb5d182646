import { median } from "../support/figures.js";
import type { BenchmarkOptions } from "./benchmark.js";

/** Does its work until the deadline (of performance.now); returns how many units it did. `took` is told how many ms each step took, where it says so. */
export type Work = (deadline: number, took: (ms: number) => void) => Promise<number>;

export interface Race {
  /** Units a second, medians over the rounds. */
  ours: number;
  theirs: number;
  /** Median of the rounds' ratios. */
  ratio: number;
  /** How many ms each step took, over all rounds; of work that does not say so: none. */
  waits?: { readonly ours: readonly number[]; readonly theirs: readonly number[] };
}

async function rate(work: Work, seconds: number, waits: number[] = []): Promise<number> {
  const started = performance.now();
  const done = await work(started + seconds * 1000, (ms) => waits.push(ms));
  return (done * 1000) / (performance.now() - started);
}

/** Until the compiler has seen all of either. */
const warmUpSeconds = 2;

/** Runs both in turns, each going first as often as the other, after both are warm. */
export async function race({ rounds, seconds }: BenchmarkOptions, ours: Work, theirs: Work): Promise<Race> {
  const runs: { ours: number; theirs: number }[] = [];
  const waits = { ours: [] as number[], theirs: [] as number[] };
  await rate(ours, warmUpSeconds);
  await rate(theirs, warmUpSeconds);
  for (let round = 0; round < rounds; round++) {
    if (round % 2 === 0) {
      const first = await rate(ours, seconds / 2, waits.ours);
      runs.push({ ours: first, theirs: await rate(theirs, seconds / 2, waits.theirs) });
    } else {
      const first = await rate(theirs, seconds / 2, waits.theirs);
      runs.push({ theirs: first, ours: await rate(ours, seconds / 2, waits.ours) });
    }
  }
  return {
    ours: median(runs.map((run) => run.ours)),
    theirs: median(runs.map((run) => run.theirs)),
    ratio: median(runs.map((run) => run.ours / run.theirs)),
    waits,
  };
}

/** Puts on the page how long the steps of a race took. In: what they are, "ours / theirs". */
export function showWaits({ distribution }: BenchmarkOptions, name: string, { waits }: Race): void {
  if (waits === undefined || waits.ours.length === 0 || waits.theirs.length === 0) return;
  const [what = name, other = "other"] = name.split(" / ");
  distribution(`${what}: perch and ${other}`, "ms", { perch: waits.ours, [other]: waits.theirs });
}
