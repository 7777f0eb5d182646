import { median } from "../support/figures.js";
import type { BenchmarkOptions } from "./benchmark.js";

/** Does its work until the deadline (of performance.now); returns how many units it did. */
export type Work = (deadline: number) => Promise<number>;

export interface Race {
  /** Units a second, medians over the rounds. */
  ours: number;
  theirs: number;
  /** Median of the rounds' ratios. */
  ratio: number;
}

async function rate(work: Work, seconds: number): Promise<number> {
  const started = performance.now();
  const done = await work(started + seconds * 1000);
  return (done * 1000) / (performance.now() - started);
}

/** Until the compiler has seen all of either. */
const warmUpSeconds = 2;

/** Runs both in turns, each going first as often as the other, after both are warm. */
export async function race({ rounds, seconds }: BenchmarkOptions, ours: Work, theirs: Work): Promise<Race> {
  const runs: { ours: number; theirs: number }[] = [];
  await rate(ours, warmUpSeconds);
  await rate(theirs, warmUpSeconds);
  for (let round = 0; round < rounds; round++) {
    if (round % 2 === 0) {
      const first = await rate(ours, seconds / 2);
      runs.push({ ours: first, theirs: await rate(theirs, seconds / 2) });
    } else {
      const first = await rate(theirs, seconds / 2);
      runs.push({ theirs: first, ours: await rate(ours, seconds / 2) });
    }
  }
  return {
    ours: median(runs.map((run) => run.ours)),
    theirs: median(runs.map((run) => run.theirs)),
    ratio: median(runs.map((run) => run.ours / run.theirs)),
  };
}
