import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createPullTrigger } from "../../src/log/pull-trigger.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const hour = 3_600_000;

/** A follower that pulls whenever it is woken, and finds the log where it was. */
function follower(positions: ReadonlyMap<string, { seq: number; mark: string }>, found = () => positions) {
  const trigger = createPullTrigger();
  const stop = new AbortController();
  let pulls = 0;
  const running = (async () => {
    while (!stop.signal.aborted) {
      await trigger.wait(2 ** 31 - 1, stop.signal);
      if (stop.signal.aborted) return;
      pulls += 1;
      trigger.reached(found());
    }
  })();
  const end = async () => {
    stop.abort();
    trigger.close();
    await running;
  };
  return { trigger, pulls: () => pulls, end };
}

it("pulls once for a number that was notified, whatever the number, and then waits for the next notification", async () => {
  const one = follower(new Map([["~ada", { seq: 3, mark: "a" }]]));
  await vi.advanceTimersByTimeAsync(hour);
  expect(one.pulls()).toBe(1);
  one.trigger.notified("~ada", 1_000_000_000_000_000);
  await vi.advanceTimersByTimeAsync(hour);
  expect(one.pulls()).toBe(2);
  one.trigger.notified("~ada", 4);
  await vi.advanceTimersByTimeAsync(hour);
  expect(one.pulls()).toBe(3);
  // What it has already.
  expect(one.trigger.heard("~ada", 3)).toBe(false);
  await vi.advanceTimersByTimeAsync(hour);
  expect(one.pulls()).toBe(3);
  await one.end();
});

it("pulls at most once a second for notifications about nothing that it reads", async () => {
  const one = follower(new Map([["constructor", { seq: 3, mark: "a" }]]));
  await vi.advanceTimersByTimeAsync(hour);
  for (let n = 0; n < 100; n += 1) {
    one.trigger.notified("toString", n);
    await vi.advanceTimersByTimeAsync(100);
  }
  await vi.advanceTimersByTimeAsync(hour);
  expect(one.pulls()).toBeGreaterThan(5);
  expect(one.pulls()).toBeLessThanOrEqual(13);
  await one.end();
});

it("pulls later and later for numbers that lead to nothing, until one is true", async () => {
  let seq = 3;
  const one = follower(new Map(), () => new Map([["~ada", { seq, mark: "a" }]]));
  await vi.advanceTimersByTimeAsync(hour);
  for (let n = 0; n < 1_000; n += 1) {
    one.trigger.notified("~ada", 1_000 + n);
    await vi.advanceTimersByTimeAsync(10);
  }
  expect(one.pulls()).toBeLessThanOrEqual(25);
  seq = 4;
  one.trigger.notified("~ada", 4);
  await vi.advanceTimersByTimeAsync(2_000);
  const before = one.pulls();
  for (; seq < 14; seq += 1) {
    one.trigger.notified("~ada", seq + 1);
    await vi.advanceTimersByTimeAsync(0);
  }
  expect(one.pulls()).toBe(before + 10);
  await one.end();
});
