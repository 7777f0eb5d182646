import { expect, it, onTestFinished, vi } from "vitest";
import { createDeadlines } from "../../src/lib/deadlines.js";
import { fakeClock } from "./fake-clock.js";

it("counts the timers of the code that it is asked for, until they fire or are cleared, and nobody else's", async () => {
  const real = { setTimeout, setInterval, clearTimeout, clearInterval };
  const timers = fakeClock("lib/deadlines.ts");
  onTestFinished(() => void vi.useRealTimers());
  setTimeout(() => undefined, 1_000);
  const others = setInterval(() => undefined, 1_000);
  const deadlines = createDeadlines(() => undefined, 50);
  deadlines.set({ dueAt: 0 }, performance.now() + 1_000);
  expect([timers(), vi.getTimerCount()]).toEqual([[expect.stringContaining("deadlines.ts")], 3]);
  await vi.advanceTimersByTimeAsync(5_000);
  expect([timers(), vi.getTimerCount()]).toEqual([[], 1]);
  clearInterval(others);
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
  expect({ setTimeout, setInterval, clearTimeout, clearInterval }).toEqual(real);
});
