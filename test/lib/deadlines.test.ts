import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createDeadlines, type Due } from "../../src/lib/deadlines.js";
import { fakeClock } from "../support/fake-clock.js";

interface Named extends Due {
  readonly name: string;
}
const named = (name: string): Named => ({ name, dueAt: 0 });

let timers: () => string[];
beforeEach(() => {
  timers = fakeClock("lib/deadlines.ts", { toFake: ["setTimeout", "clearTimeout", "performance"] });
});
afterEach(() => void vi.useRealTimers());

it("thousands of deadlines hold one timer, and each is told of in its time", () => {
  const told: [string, number][] = [];
  const began = performance.now();
  const deadlines = createDeadlines<Named>(({ name }) => told.push([name, performance.now() - began]), 50);
  for (let n = 0; n < 5_000; n++) deadlines.set(named(`${n}`), began + n);
  expect(timers()).toHaveLength(1);
  vi.advanceTimersByTime(10_000);
  expect(told).toHaveLength(5_000);
  for (const [name, ms] of told) {
    expect(ms).toBeGreaterThanOrEqual(Number(name));
    expect(ms).toBeLessThanOrEqual(Number(name) + 51);
  }
  expect(timers()).toEqual([]);
});

it("what is set anew, or taken out, is told of at its last time alone, or not at all", () => {
  const told: string[] = [];
  const again = named("again");
  const deadlines = createDeadlines<Named>((one) => {
    told.push(one.name);
    // It may change others of the same moment, and itself.
    if (one.name === "first") deadlines.remove(second);
    if (one === again && told.length < 5) deadlines.set(again, 0);
  }, 50);
  const [first, second, later, never] = [named("first"), named("second"), named("later"), named("never")];
  const now = performance.now();
  for (const one of [first, second, again]) deadlines.set(one, now + 10);
  deadlines.set(never, now + 20);
  deadlines.remove(never);
  deadlines.remove(never);
  deadlines.set(later, now + 10);
  deadlines.set(later, now + 1_000);
  vi.advanceTimersByTime(101);
  expect(told).toEqual(["first", "again", "again"]);
  vi.advanceTimersByTime(2_000);
  expect(told.filter((name) => name !== "again")).toEqual(["first", "later"]);
  expect([first, second, later, again, never].map(({ dueAt }) => dueAt)).toEqual([0, 0, 0, 0, 0]);
  expect(timers()).toEqual([]);
});

it("what is further away than a timer reaches is waited for all the same", () => {
  const told: string[] = [];
  const deadlines = createDeadlines<Named>(({ name }) => told.push(name), 50);
  deadlines.set(named("far"), performance.now() + 2 ** 32);
  deadlines.set(named("never"), Number.POSITIVE_INFINITY);
  vi.advanceTimersByTime(2 ** 32 - 1_000);
  expect(told).toEqual([]);
  vi.advanceTimersByTime(2_000);
  expect(told).toEqual(["far"]);
});
