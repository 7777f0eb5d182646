import { expect, it } from "vitest";
import { createTokenBucket } from "../../src/lib/token-bucket.js";
import { createRejoinBackoff } from "../../src/websocket/rejoin-backoff.js";

it("a room is asked to join again at once, then ever later, then not at all until time has passed", () => {
  let now = 0;
  const rejoinBackoff = createRejoinBackoff(() => now);
  const delays = Array.from({ length: 7 }, () => rejoinBackoff.delay("room", false));
  expect(delays).toEqual([0, 200, 800, 3_000, 5_000, undefined, undefined]);
  expect(rejoinBackoff.delay("another", false)).toBe(0);
  now += 10_000;
  expect(rejoinBackoff.delay("room", false)).toBe(5_000);
  now += 60_000;
  expect(rejoinBackoff.delay("room", false)).toBe(0);
});

it("a passing fault is waited for however long it lasts, and never longer than 5 s at a time", () => {
  let now = 0;
  const rejoinBackoff = createRejoinBackoff(() => now);
  const delays = Array.from({ length: 20 }, () => {
    const delay = rejoinBackoff.delay("room", true) ?? Number.NaN;
    now += delay;
    return delay;
  });
  expect(delays.slice(0, 6)).toEqual([0, 200, 800, 3_000, 5_000, 5_000]);
  expect(Math.max(...delays)).toBe(5_000);
  expect(rejoinBackoff.delay("room", false)).toBe(0);
  now += 10_001;
  expect(rejoinBackoff.delay("room", true)).toBe(0);
});

it("a rate lets twice as many through in a burst, then so many a second", () => {
  let now = 0;
  const take = createTokenBucket(10, () => now);
  const taken = () => {
    let count = 0;
    while (take()) count += 1;
    return count;
  };
  expect(taken()).toBe(20);
  now += 1_000;
  expect(taken()).toBe(10);
  now += 60_000;
  expect(taken()).toBe(20);
});
