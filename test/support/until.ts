/** Waiting for what has no event of its own. */
import { TestRunner } from "vitest";

// As they are before any test takes their place.
const { now } = Date;
const later = setTimeout;

/** A test or hook that is over its time is ended by vitest, which cannot say what it waited for: this ends before. */
const reserveMs = 3_000;
const inHookMs = 150_000;

function patience(): number {
  const test = TestRunner.getCurrentTest();
  if (test?.result?.startTime === undefined) return inHookMs;
  // In a hook after a test that was long, the test's own time may be over.
  return Math.max(test.result.startTime + test.timeout - now() - reserveMs, 10_000);
}

/**
 * Asks again and again until `check` returns something, for as long as the test has time: how fast the machine is decides nothing.
 * Out: what it returned. Fails with the words of `what`, or with the source of `check`; an error that it threw last is the cause.
 */
export async function until<T>(check: () => T | Promise<T>, what?: string): Promise<NonNullable<T>> {
  const began = now();
  const end = began + patience();
  for (let pauseMs = 2; ; pauseMs = Math.min(pauseMs * 1.5, 25)) {
    let failure: unknown;
    try {
      const result = await check();
      if (result) return result;
    } catch (error) {
      failure = error;
    }
    if (now() > end) {
      const seconds = Math.round((now() - began) / 1_000);
      throw new Error(
        `waited ${seconds} s in vain for: ${what ?? check}`,
        failure === undefined ? {} : { cause: failure },
      );
    }
    await new Promise((done) => later(done, pauseMs));
  }
}

/** Lets that much time pass. For pacing what a test does; that something does not happen shows by what comes after it instead. */
export const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

/** What is awaited later: when a test fails before, it fails of that, and not also of a rejection that nobody handled. Out: the same. */
export function underWay<T>(work: Promise<T>): Promise<T> {
  work.catch(() => undefined);
  return work;
}
