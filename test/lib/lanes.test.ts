import fc from "fast-check";
import { expect, it } from "vitest";
import { createLanes, TurnMissed } from "../../src/lib/lanes.js";

/** Works that end when they are told to. */
function works() {
  const begun: string[] = [];
  const ends = new Map<string, (fails: boolean) => void>();
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

it("one owner is at work no more often than it may be", async () => {
  const { lane } = createLanes(4, { lane: { perOwner: 2 } });
  const { begun, work, end } = works();
  for (const name of ["a1", "a2", "a3"]) void lane.run("a", work(name));
  void lane.run("b", work("b1"));
  expect(begun).toEqual(["a1", "a2", "b1"]);
  await end("a2");
  expect(begun).toEqual(["a1", "a2", "b1", "a3"]);
});

it("who took much lately leaves places to those who did not, goes behind them, and is as they are a while later", async () => {
  let clock = 0;
  const { lane } = createLanes(3, { lane: { light: 1 } }, () => clock);
  const { begun, work, end } = works();
  void lane.run("h", work("h1"));
  clock = 60_000;
  await end("h1");
  for (const name of ["h2", "h3", "h4"]) void lane.run("h", work(name));
  expect(begun).toEqual(["h1", "h2", "h3"]);
  // The place that is left.
  for (const name of ["l1", "l2"]) void lane.run("l", work(name));
  expect(begun.at(-1)).toBe("l1");
  await end("h2");
  expect(begun.at(-1)).toBe("l2");
  await end("l1");
  await end("l2");
  expect(begun.at(-1)).toBe("h4");
  for (const name of ["h3", "h4"]) await end(name);
  // So long that of a minute less than five seconds are left.
  clock += 40_000;
  for (const name of ["h5", "h6", "h7"]) void lane.run("h", work(name));
  expect(begun.slice(-3)).toEqual(["h5", "h6", "h7"]);
});

it("one who took much is served also where all places are kept or left", async () => {
  let clock = 0;
  const { lane } = createLanes(2, { lane: { light: 2 }, other: { kept: 1 } }, () => clock);
  const { begun, work, end } = works();
  void lane.run("h", work("h1"));
  clock = 60_000;
  await end("h1");
  void lane.run("h", work("h2"));
  expect(begun).toEqual(["h1", "h2"]);
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
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 5 }), async (steps, places) => {
      const lanes = createLanes(places, { x: { kept: places > 2 ? 1 : 0 }, y: { perOwner: 2 }, z: { perOwner: 1 } });
      const { begun, work, end } = works();
      let ended = 0;
      const all: Promise<unknown>[] = [];
      for (const [n, { lane, owner, ends }] of steps.entries()) {
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
