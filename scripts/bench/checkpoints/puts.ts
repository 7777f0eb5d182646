import type { BaseCheckpointSaver } from "@langchain/langgraph-checkpoint";
import type { Work } from "../race.js";
import { newRandom, prose, startRun } from "./savers.js";

/** What a step writes, and the state of 10 kB that comes of it. */
export type Step = (nth: number) => { state: unknown; written: unknown };

/** Every step replaces the state: what the task wrote is the whole of it. */
export function replaced(): Step {
  const random = newRandom();
  const states = Array.from({ length: 50 }, () => prose(10_000, random));
  return (nth) => {
    const state = states[nth % states.length];
    return { state, written: state };
  };
}

/** Every step adds a message of 1 kB to the last nine: the task wrote one message, the state is another list. */
export function conversation(): Step {
  const random = newRandom();
  const messages = Array.from({ length: 500 }, () => ({ role: "assistant", content: prose(970, random) }));
  const at = (nth: number) => messages[nth % messages.length];
  return (nth) => ({ state: Array.from({ length: 10 }, (_, place) => at(nth + place)), written: [at(nth + 9)] });
}

/** So many threads at once, each going on step by step: what a task wrote, then the checkpoint after it. */
export function puts(saver: BaseCheckpointSaver, threads: number, step: Step): Work {
  const runs = Array.from({ length: threads }, () => startRun(saver));
  let done = 0;
  return async (deadline, took) => {
    const before = done;
    await Promise.all(
      runs.map(async (run) => {
        while (performance.now() < deadline) {
          const { state, written } = step(done);
          const started = performance.now();
          await run.step({ state }, { state: written });
          took(performance.now() - started);
          done += 1;
        }
      }),
    );
    return done - before;
  };
}
