import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import type { Work } from "../changes/race.js";
import { newRandom, prose, startRun } from "./savers.js";

/** So many threads at once, each writing a new state of 10 kB, as a task's write and as the checkpoint after it, step by step. */
export function puts(saver: BaseCheckpointSaver, threads: number): Work {
  const random = newRandom();
  const states = Array.from({ length: 50 }, () => prose(10_000, random));
  const runs = Array.from({ length: threads }, () => startRun(saver));
  let done = 0;
  return async (deadline) => {
    const before = done;
    await Promise.all(
      runs.map(async (run) => {
        while (performance.now() < deadline) {
          await run.step({ state: states[done % states.length] });
          done += 1;
        }
      }),
    );
    return done - before;
  };
}
