/** What a test began is ended after it, and what a suite began after its file: see cleanup-hooks.ts. */
import { TestRunner } from "vitest";

interface Work {
  readonly run: () => unknown;
  readonly inTest: boolean;
  readonly first: boolean;
}

let works: Work[] = [];

function add(run: () => unknown, first: boolean): void {
  works.push({ run, inTest: TestRunner.getCurrentTest() !== undefined, first });
}

/** Runs after the test, last added first. */
export function cleanup(run: () => unknown): void {
  add(run, false);
}

/** Runs after the test, before all that `cleanup` was given. */
export function cleanupFirst(run: () => unknown): void {
  add(run, true);
}

async function end(ending: (work: Work) => boolean): Promise<void> {
  const ended = works.filter(ending).reverse();
  works = works.filter((work) => !ended.includes(work));
  for (const work of ended.filter(({ first }) => first)) await work.run();
  for (const work of ended.filter(({ first }) => !first)) await work.run();
}

/** Ends what was begun in a test. */
export const cleanUpTest = () => end(({ inTest }) => inTest);

/** Ends all: for a suite that began something before its tests. */
export const cleanUp = () => end(() => true);
