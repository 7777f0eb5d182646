import { describe, expect, it } from "vitest";
import {
  projectionDelay,
  quietTime,
  restAfter,
  defaultWorkerSettings as settings,
  shouldFold,
} from "../../src/worker/settings.js";

const kB = 1_024;

describe("how long a record may lag behind its document", () => {
  it("is less than 250 ms for small ones, and grows with the size to 5 s", () => {
    expect(projectionDelay(0, settings)).toBe(150);
    expect(projectionDelay(16 * kB, settings)).toBe(150);
    expect(projectionDelay(40 * kB, settings)).toBeGreaterThan(2_000);
    expect(projectionDelay(64 * kB, settings)).toBe(5_000);
    expect(projectionDelay(1_000 * kB, settings)).toBe(5_000);
  });

  it("grows with what is longer than a megabyte, so that a keystroke in it costs no more, up to a minute", () => {
    const perSecond = (megabytes: number) => megabytes / projectionDelay(megabytes * kB * kB, settings);
    expect(projectionDelay(8 * kB * kB, settings)).toBe(40_000);
    for (const megabytes of [2, 4, 8, 12]) expect(perSecond(megabytes)).toBeCloseTo(perSecond(1));
    expect(projectionDelay(64 * kB * kB, settings)).toBe(60_000);
  });

  it("writes at most 4 kB of projection for a keystroke, at five a second, whatever the size", () => {
    for (let size = 17 * kB; size <= 105 * kB; size += kB) {
      const keystrokes = (projectionDelay(size, settings) / 1_000) * 5;
      // Text takes about half its size in WAL, and the smallest sizes above the bound are projected the most often.
      if (size > 24 * kB) expect(size / 2 / keystrokes).toBeLessThan(4 * kB);
    }
  });

  it("leaves nine tenths of a connection's time to others, however dear a record is to write, up to ten seconds", () => {
    expect([0, 5, 50].map(restAfter)).toEqual([0, 0, 0]);
    expect(restAfter(150)).toBe(1_000);
    expect(restAfter(60_000)).toBe(10_000);
  });

  it("ends earlier when the document falls quiet, but never at once", () => {
    expect(quietTime(0, settings)).toBe(150);
    expect(quietTime(1_000 * kB, settings)).toBe(1_500);
  });
});

describe("when a tail is folded", () => {
  const update = 100;
  /** Updates of a hundred bytes until a document with such a snapshot is folded. */
  const updatesUntilFold = (snapshotBytes: number) => {
    for (let count = 1; ; count++) {
      if (shouldFold({ count, bytes: count * update }, snapshotBytes, settings)) return count;
    }
  };

  it("costs no more than some 200 bytes a keystroke, whatever the size", () => {
    for (const snapshot of [1, 10, 100, 260, 1_000, 10_000].map((size) => size * kB)) {
      expect(snapshot / updatesUntilFold(snapshot)).toBeLessThanOrEqual(205);
    }
  });

  it("is bounded by bytes and by number", () => {
    expect(updatesUntilFold(0)).toBe(656);
    expect(updatesUntilFold(260 * kB)).toBe(1_332);
    expect(shouldFold({ count: 2_001, bytes: 2_001 }, 0, settings)).toBe(true);
    expect(shouldFold({ count: 2_000, bytes: 2_000 }, 0, settings)).toBe(false);
  });
});
