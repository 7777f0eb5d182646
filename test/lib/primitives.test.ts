import { expect, it } from "vitest";
import { backOff } from "../../src/lib/back-off.js";
import { readerOf, readUint, readUint64, readVarint, requireShortest, varint } from "../../src/lib/binary.js";
import { remember } from "../../src/lib/bounded-map.js";

it("a bounded map forgets the oldest, and what is set anew is the newest", () => {
  const map = new Map<string, number>();
  for (const [n, key] of ["a", "b", "a", "c", "d"].entries()) remember(map, key, n, 3);
  expect([...map]).toEqual([
    ["a", 2],
    ["c", 3],
    ["d", 4],
  ]);
});

it("back-off doubles up to a bound, however often it is tried", () => {
  expect([0, 1, 2, 3, 5_000].map((attempt) => backOff(attempt, 100, 500))).toEqual([100, 200, 400, 500, 500]);
});

it("a varint is read as it was written, and refused where it is longer than it may be, or cut short", () => {
  for (const value of [0n, 1n, 127n, 128n, 2n ** 32n - 1n, 2n ** 53n - 1n, 2n ** 64n - 1n]) {
    const bytes = Uint8Array.from(varint(value));
    const reader = readerOf(bytes);
    expect(readUint64(reader)).toBe(value);
    requireShortest(reader, 0);
    expect([reader.bad, reader.offset]).toEqual([false, bytes.length]);
    const cut = readerOf(bytes.subarray(0, -1));
    readUint64(cut);
    expect(cut.bad).toBe(true);
    if (value < 2n ** 53n) expect(readVarint(readerOf(bytes), 8)).toBe(Number(value));
    const small = readerOf(bytes);
    readUint(small);
    expect(small.bad).toBe(value >= 2n ** 32n);
  }
  const tooLarge = readerOf(Uint8Array.from(varint(2n ** 64n)));
  readUint64(tooLarge);
  expect(tooLarge.bad).toBe(true);
  const padded = readerOf(Uint8Array.of(0x85, 0));
  expect(readUint64(padded)).toBe(5n);
  requireShortest(padded, 0);
  expect(padded.bad).toBe(true);
});
