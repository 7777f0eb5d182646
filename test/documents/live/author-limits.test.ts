import { expect, it, vi } from "vitest";
import { createAuthorLimits } from "../../../src/documents/live/author-limits.js";

it("lets those who bring something begin at once, also beside those who have to wait", () => {
  const authorLimits = createAuthorLimits(() => 0);
  const begun: string[] = [];
  authorLimits.charge("typist", 40, false);
  authorLimits.charge("forger", 100, true);
  for (const author of ["typist", "forger", "stranger"]) authorLimits.turn(author, () => begun.push(author));
  expect(begun).toEqual(["typist", "stranger"]);
  expect(authorLimits.waiting).toBe(1);
  authorLimits.close();
  expect(begun).toEqual(["typist", "stranger", "forger"]);
});

it("gives an author whose updates are refused a tenth of the time, in the order in which they came", () => {
  vi.useFakeTimers();
  try {
    let now = 0;
    const authorLimits = createAuthorLimits(() => now);
    const begun: number[] = [];
    const costly = (number: number) => () => {
      begun.push(number);
      authorLimits.charge("forger", 100, true);
    };
    for (let number = 0; number < 5; number++) authorLimits.turn("forger", costly(number));
    const starts = [now];
    for (let ms = 1; ms <= 5_000; ms++) {
      now = ms;
      const before = begun.length;
      vi.advanceTimersByTime(1);
      if (begun.length > before) starts.push(now);
    }
    expect(begun).toEqual([0, 1, 2, 3, 4]);
    for (const [index, start] of starts.entries()) if (index > 0) expect(start - (starts[index - 1] ?? 0)).toBe(900);
    // Paid off: as anybody else.
    authorLimits.turn("forger", () => begun.push(5));
    expect(begun).toHaveLength(6);
  } finally {
    vi.useRealTimers();
  }
});

it("has authors of uncommonly heavy updates wait as long as those took, and nobody longer than half a minute", () => {
  vi.useFakeTimers();
  try {
    let now = 0;
    const authorLimits = createAuthorLimits(() => now);
    let begun = 0;
    const pass = (ms: number) => {
      now += ms;
      vi.advanceTimersByTime(ms);
    };
    authorLimits.charge("paster", 450, false);
    authorLimits.turn("paster", () => begun++);
    pass(399);
    expect(begun).toBe(0);
    pass(1);
    expect(begun).toBe(1);
    authorLimits.charge("paster", 1e6, true);
    authorLimits.turn("paster", () => begun++);
    pass(30_000);
    expect(begun).toBe(2);
  } finally {
    vi.useRealTimers();
  }
});

it("leaves many who are refused no more together than a fifth", async () => {
  vi.useFakeTimers();
  try {
    let now = 0;
    const authorLimits = createAuthorLimits(() => now);
    let spent = 0;
    for (let author = 0; author < 20; author++) {
      const forge = () => {
        spent += 10;
        authorLimits.charge(`forger ${author}`, 10, true);
        queueMicrotask(() => authorLimits.turn(`forger ${author}`, forge));
      };
      forge();
    }
    spent = 0;
    for (now = 1; now <= 20_000; now++) await vi.advanceTimersByTimeAsync(1);
    expect(spent / now).toBeGreaterThan(0.1);
    expect(spent / now).toBeLessThan(0.21);
  } finally {
    vi.useRealTimers();
  }
});
