import fc from "fast-check";
import { expect, it } from "vitest";
import { createLanes, type LaneOptions, TurnMissed } from "../../src/lib/lanes.js";
import { cleanup } from "../support/cleanup.js";
import { until } from "../support/until.js";

/** Works that end when they are told to, or after the test: while one waits for another its lane looks again and again. */
function works() {
  const begun: string[] = [];
  const ends = new Map<string, (fails: boolean) => void>();
  cleanup(async () => {
    for (const name of begun) {
      ends.get(name)?.(false);
      await new Promise((done) => setImmediate(done));
    }
  });
  return {
    begun,
    work: (name: string) => () =>
      new Promise<string>((resolve, reject) => {
        begun.push(name);
        ends.set(name, (fails) => (fails ? reject(new Error(name)) : resolve(name)));
      }),
    async end(name: string, fails = false) {
      ends.get(name)?.(fails);
      await new Promise((done) => setImmediate(done));
    },
  };
}

it("owners take turns, whatever number of works each has, also past one that fails", async () => {
  const { lane } = createLanes(1, { lane: {} });
  const { begun, work, end } = works();
  const all = ["a1", "a2", "a3", "b1", "c1", "b2"].map((name) => lane.run(name[0] ?? "", work(name)));
  const settled = Promise.allSettled(all);
  for (let n = 0; n < 6; n++) await end(begun[n] ?? "", n === 1);
  expect(begun).toEqual(["a1", "a2", "b1", "c1", "a3", "b2"]);
  expect((await settled).map(({ status }) => status === "fulfilled")).toEqual([true, false, true, true, true, true]);
});

it("places are kept for a lane while others have more to do", async () => {
  const { many, kept } = createLanes(3, { many: {}, kept: { kept: 1 } });
  const { begun, work, end } = works();
  for (const name of ["m1", "m2", "m3", "m4"]) void many.run("m", work(name));
  expect(begun).toEqual(["m1", "m2"]);
  void kept.run("k", work("k1"));
  expect(begun).toEqual(["m1", "m2", "k1"]);
  void kept.run("k", work("k2"));
  await end("k1");
  expect(begun).toEqual(["m1", "m2", "k1", "k2"]);
  await end("m1");
  expect(begun.at(-1)).toBe("m3");
});

it("a lane that may have so many places leaves the others free", async () => {
  const { lane, other } = createLanes(3, { lane: { kept: 1, most: 2 }, other: {} });
  const { begun, work, end } = works();
  for (const name of ["a1", "b1", "c1"]) void lane.run(name[0] ?? "", work(name));
  void other.run("o", work("o1"));
  expect(begun).toEqual(["a1", "b1", "o1"]);
  await end("o1");
  expect(begun).toHaveLength(3);
  await end("a1");
  expect(begun.at(-1)).toBe("c1");
});

it("one owner is at work no more often than it may be", async () => {
  const { lane } = createLanes(4, { lane: { perOwner: 2 } });
  const { begun, work, end } = works();
  for (const name of ["a1", "a2", "a3"]) void lane.run("a", work(name));
  void lane.run("b", work("b1"));
  expect(begun).toEqual(["a1", "a2", "b1"]);
  await end("a2");
  expect(begun).toEqual(["a1", "a2", "b1", "a3"]);
});

/** Lanes on a clock of the test's, and works that take as long as they are told to. */
function clocked(places: number, options: LaneOptions) {
  let clock = 0;
  const { lane } = createLanes(places, { lane: options }, () => clock);
  const { begun, work, end } = works();
  return {
    lane,
    begun,
    begin: (name: string) => void lane.run(name[0] ?? "", work(name)),
    end,
    pass(ms: number) {
      clock += ms;
    },
    async take(name: string, ms: number) {
      void lane.run(name[0] ?? "", work(name));
      clock += ms;
      await end(name);
    },
  };
}

it("who works much longer than others has few places, all such together, and goes behind the others", async () => {
  const { begun, begin, end, take } = clocked(3, { heavy: 1 });
  await take("h0", 1_000);
  await take("i0", 900);
  for (let n = 0; n < 50; n++) await take(`l${n}`, 10);
  for (const name of ["h1", "h2", "i1", "l51", "l52", "l53"]) begin(name);
  expect(begun.slice(52)).toEqual(["h1", "l51", "l52"]);
  await end("l51");
  expect(begun.at(-1)).toBe("l53");
  await end("l52");
  // A place is free, and h2 and i1 wait for theirs.
  expect(begun.at(-1)).toBe("l53");
  await end("h1");
  // Who took least goes first.
  expect(begun.at(-1)).toBe("i1");
});

it("nobody is heavy for a few works that took long, while others kept the processors busy", async () => {
  const { begun, begin, take } = clocked(4, { heavy: 1 });
  for (let n = 0; n < 100; n++) await take(`l${n}`, n % 25 === 0 ? 400 : 20);
  for (let n = 0; n < 3; n++) await take(`h${n}`, 1_000);
  for (const name of ["l-1", "h9", "h8", "l-2"]) begin(name);
  expect(begun.slice(-3)).toEqual(["l-1", "h9", "l-2"]);
});

it("nobody is heavy where everything takes long", async () => {
  const { begun, begin, take, pass } = clocked(3, { heavy: 1 });
  for (let n = 0; n < 200; n++) await take(`${"abcd"[n % 4]}${n}`, 120);
  pass(1);
  for (const name of ["a-1", "b-1", "c-1"]) begin(name);
  expect(begun.slice(-3)).toEqual(["a-1", "b-1", "c-1"]);
});

it("who takes much of all there is by short works is heavy, too", async () => {
  const { begun, begin, pass, end } = clocked(4, { heavy: 1, perOwner: 2 });
  for (let n = 0; n < 2_500; n++) {
    begin(`a${n}`);
    begin(`a-${n}`);
    pass(10);
    await end(`a${n}`);
    await end(`a-${n}`);
  }
  begin("b1");
  begin("a+1");
  begin("a+2");
  expect(begun.slice(-2)).toEqual(["b1", "a+1"]);
});

it("who always has works that wait behind their own is heavy, and nobody for what many at once make long", async () => {
  const { begun, begin, pass, end } = clocked(4, { heavy: 1, perOwner: 2 });
  for (let n = 0; n < 600; n++) {
    // Four run, and three more of a's wait.
    for (const name of ["b", "c", "a1", "a2", "a3", "a4", "a5"]) begin(`${name}:${n}`);
    pass(20);
    while (begun.length > 0) await end(begun.shift() ?? "");
  }
  for (const name of ["a1", "a2", "b1", "c1"]) begin(name);
  expect(begun).toEqual(["a1", "b1", "c1"]);
});

it("while nobody else works, who works long has all places; and a while later is as all others are", async () => {
  const { begun, begin, take, pass, end } = clocked(3, { heavy: 1 });
  await take("h0", 60_000);
  await take("l0", 10);
  begin("h1");
  begin("h2");
  expect(begun.at(-1)).toBe("h1");
  pass(1_001);
  await end("h1");
  begin("h3");
  expect(begun.slice(-2)).toEqual(["h2", "h3"]);
  await end("h2");
  await end("h3");
  // So long that of a minute less than half a second is left.
  pass(80_000);
  await take("l1", 10);
  for (const name of ["l2", "h4", "h5"]) begin(name);
  expect(begun.slice(-3)).toEqual(["l2", "h4", "h5"]);
});

it("heavy works that wait for others to be quiet begin by themselves", async () => {
  const { lane } = createLanes(3, { lane: { heavy: 1 } });
  const { begun, work, end } = works();
  void lane.run("h", work("h0"));
  await new Promise((done) => setTimeout(done, 600));
  await end("h0");
  void lane.run("h", work("h1"));
  void lane.run("h", work("h2"));
  expect(begun).toEqual(["h0", "h1"]);
  await until(() => begun.includes("h2"), "the second");
});

it("what has not begun in time is never begun", async () => {
  const { lane } = createLanes(1, { lane: {} });
  const { begun, work, end } = works();
  void lane.run("a", work("a1"));
  await expect(lane.run("b", work("b1"), performance.now() + 5)).rejects.toThrow(TurnMissed);
  void lane.run("c", work("c1"));
  await end("a1");
  expect(begun).toEqual(["a1", "c1"]);
  expect(lane.waiting).toBe(0);
});

it("never more are at work than there are places, and none is left over, whatever comes in whatever order", async () => {
  const step = fc.record({
    lane: fc.constantFrom("x", "y", "z"),
    owner: fc.constantFrom("a", "b", "c"),
    ends: fc.nat(3),
    ms: fc.nat(1_000),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 5 }), async (steps, places) => {
      let clock = 0;
      const lanes = createLanes(
        places,
        { x: { kept: places > 2 ? 1 : 0 }, y: { perOwner: 2, heavy: 1 }, z: { perOwner: 1, heavy: 1 } },
        () => clock,
      );
      const { begun, work, end } = works();
      let ended = 0;
      const all: Promise<unknown>[] = [];
      for (const [n, { lane, owner, ends, ms }] of steps.entries()) {
        clock += ms;
        all.push(lanes[lane as "x"].run(owner, work(String(n))));
        for (let k = 0; k < ends && ended < begun.length; k++) await end(begun[ended++] ?? "");
        expect(begun.length - ended).toBeLessThanOrEqual(places);
      }
      while (ended < steps.length) {
        expect(begun.length).toBeGreaterThan(ended);
        await end(begun[ended++] ?? "");
      }
      expect((await Promise.all(all)).length).toBe(steps.length);
    }),
    { numRuns: 100 },
  );
});
