import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createFragments } from "../../src/protocol/fragments.js";
import { fakeClock } from "../support/fake-clock.js";

const limits = { maxUpdateBytes: 1_000_000, maxFragments: 100, maxBatches: 2, timeoutMs: 10_000 };
const id = (n: number) => Buffer.from([0, 0, 0, 0, 0, 0, 0, n]);

function setup(room = Number.POSITIVE_INFINITY) {
  const ended: (["complete", number, string] | ["refused", number, number])[] = [];
  let held = 0;
  const fragments = createFragments(limits, {
    complete: (batchId, update) => ended.push(["complete", batchId[7] ?? 0, Buffer.from(update).toString()]),
    refuse: (batchId, status) => ended.push(["refused", batchId[7] ?? 0, status]),
    reserve(bytes) {
      if (held + bytes > room) return false;
      held += bytes;
      return true;
    },
  });
  return { fragments, ended, held: () => held };
}

let timers: () => string[];
beforeEach(() => {
  timers = fakeClock("protocol/fragments.ts");
});
afterEach(() => {
  vi.useRealTimers();
});

describe("putting fragments together", () => {
  it("takes pieces in any order", () => {
    const { fragments, ended, held } = setup();
    fragments.header(id(1), 3, 6);
    fragments.fragment(id(1), 2, Buffer.from("c!"));
    fragments.fragment(id(1), 0, Buffer.from("ab"));
    expect([ended, timers().length]).toEqual([[], 1]);
    fragments.fragment(id(1), 1, Buffer.from("--"));
    expect(ended).toEqual([["complete", 1, "ab--c!"]]);
    expect(held()).toBe(0);
    expect(timers()).toEqual([]);
  });

  it("keeps two batches apart", () => {
    const { fragments, ended } = setup();
    fragments.header(id(1), 2, 2);
    fragments.header(id(2), 2, 2);
    fragments.fragment(id(2), 0, Buffer.from("x"));
    fragments.fragment(id(1), 0, Buffer.from("a"));
    fragments.fragment(id(2), 1, Buffer.from("y"));
    fragments.fragment(id(1), 1, Buffer.from("b"));
    expect(ended).toEqual([
      ["complete", 2, "xy"],
      ["complete", 1, "ab"],
    ]);
  });

  it("does not keep views into the socket's buffer", () => {
    const { fragments, ended } = setup();
    const buffer = Buffer.from("ab");
    const name = id(1);
    fragments.header(name, 2, 4);
    fragments.fragment(name, 0, buffer);
    buffer.fill("?");
    name.fill(9);
    fragments.fragment(id(1), 1, Buffer.from("cd"));
    expect(ended).toEqual([["complete", 1, "abcd"]]);
  });

  it.each([
    ["more bytes than an update may have", 5, 1_000_001, 5],
    ["more pieces than are allowed", 101, 1_000, 5],
    ["four thousand million pieces", 0xffff_ffff, 0xffff_ffff, 5],
    ["no pieces", 0, 10, 4],
    ["more pieces than bytes", 5, 4, 4],
  ])("a header that claims %s is refused, before anything is kept", (_, count, total, status) => {
    const { fragments, ended, held } = setup();
    fragments.header(id(1), count, total);
    fragments.fragment(id(1), 0, Buffer.from("abc"));
    expect(ended).toEqual([["refused", 1, status]]);
    expect([held(), timers()]).toEqual([0, []]);
  });

  it.each([
    ["an index beyond the count", 2, "a"],
    ["a piece that was there already", 0, "a"],
    ["nothing", 1, ""],
    ["more than is left", 1, "abcdefgh"],
    ["less than was announced", 1, "ab"],
  ])("a piece with %s ends the batch, once", (_, index, piece) => {
    const { fragments, ended, held } = setup();
    fragments.header(id(1), 2, 6);
    fragments.fragment(id(1), 0, Buffer.from("abc"));
    fragments.fragment(id(1), index, Buffer.from(piece));
    fragments.fragment(id(1), 1, Buffer.from("def"));
    expect(ended).toEqual([["refused", 1, 4]]);
    expect([held(), timers()]).toEqual([0, []]);
  });

  it("a batch that stops arriving is given up 10 s after its last piece, and answered once", () => {
    const { fragments, ended, held } = setup();
    fragments.header(id(1), 3, 6);
    vi.advanceTimersByTime(9_000);
    fragments.fragment(id(1), 0, Buffer.from("ab"));
    vi.advanceTimersByTime(9_000);
    expect(ended).toEqual([]);
    vi.advanceTimersByTime(1_000);
    expect(ended).toEqual([["refused", 1, 7]]);
    fragments.fragment(id(1), 1, Buffer.from("cd"));
    expect(ended).toHaveLength(1);
    expect(held()).toBe(0);
  });

  it("answers a piece of an unknown batch with a time-out, once", () => {
    const { fragments, ended } = setup();
    fragments.fragment(id(3), 0, Buffer.from("ab"));
    fragments.fragment(id(3), 1, Buffer.from("cd"));
    expect(ended).toEqual([["refused", 3, 7]]);
  });

  it("starts over when a batch is sent again after a time-out", () => {
    const { fragments, ended } = setup();
    fragments.header(id(1), 2, 2);
    vi.advanceTimersByTime(10_000);
    fragments.header(id(1), 2, 2);
    fragments.fragment(id(1), 0, Buffer.from("a"));
    fragments.fragment(id(1), 1, Buffer.from("b"));
    expect(ended).toEqual([
      ["refused", 1, 7],
      ["complete", 1, "ab"],
    ]);
  });

  it("bounds incomplete batches and their bytes", () => {
    const { fragments, ended } = setup(5);
    for (const n of [1, 2, 3]) fragments.header(id(n), 2, 8);
    expect(ended).toEqual([["refused", 3, 6]]);
    fragments.fragment(id(1), 0, Buffer.from("abc"));
    fragments.fragment(id(2), 0, Buffer.from("abc"));
    expect(ended.at(-1)).toEqual(["refused", 2, 6]);
  });

  it("forgets everything when closed", () => {
    const { fragments, ended, held } = setup();
    fragments.header(id(1), 2, 8);
    fragments.fragment(id(1), 0, Buffer.from("abc"));
    fragments.close();
    expect([ended, held(), timers()]).toEqual([[], 0, []]);
  });
});
