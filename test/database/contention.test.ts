import { expect, it } from "vitest";
import { createContention } from "../../src/database/contention.js";

const patienceMs = 7;
const sliceMs = 5;

/** A lock that somebody holds until it is said otherwise; what is tried with which time to wait. */
function contended() {
  const { run } = createContention({ places: 2, patienceMs, sliceMs });
  const tried: { name: string; ms: number }[] = [];
  const held = new Set<string>();
  let atOnce = 0;
  let most = 0;
  const work = (name: string, owner: string) =>
    run({
      names: [name],
      owner,
      enter: (inPlace) => inPlace(undefined),
      async attempt(ms) {
        tried.push({ name, ms });
        atOnce += 1;
        most = Math.max(most, atOnce);
        await new Promise((done) => setTimeout(done, ms));
        atOnce -= 1;
        if (held.has(name)) throw Object.assign(new Error("lock timeout"), { code: "55P03" });
        return owner;
      },
    });
  const next = async (until: () => boolean) => {
    while (!until()) await new Promise((done) => setTimeout(done, 1));
  };
  return { held, tried, work, next, most: () => most };
}

it("what is known to be held is not tried by everybody who needs it, and is had by all when it is free", async () => {
  const { held, tried, work, next, most } = contended();
  held.add("team");
  const first = work("team", "ada");
  await next(() => tried.length >= 2);
  const others = Array.from({ length: 20 }, (_, n) => work("team", `user${n}`));
  // By now each of them would have tried for a moment.
  await next(() => tried.length >= 8);
  expect(tried.filter(({ ms }) => ms === patienceMs)).toHaveLength(1);
  expect(most()).toBeLessThanOrEqual(2);
  held.clear();
  expect(await first).toBe("ada");
  expect(await Promise.all(others)).toHaveLength(20);
});

it("what is free is tried at once, also while something else is held, and where it was held before", async () => {
  const { held, tried, work, next } = contended();
  held.add("team");
  const waiting = work("team", "ada");
  await next(() => tried.length >= 2);
  expect(await work("crew", "bob")).toBe("bob");
  expect(tried.find(({ name }) => name === "crew")).toEqual({ name: "crew", ms: patienceMs });
  held.clear();
  await waiting;
  tried.length = 0;
  await work("team", "bob");
  expect(tried).toEqual([{ name: "team", ms: patienceMs }]);
});
