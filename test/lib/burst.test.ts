import { expect, it } from "vitest";
import { createBurst } from "../../src/lib/burst.js";

it("a burst is so many within so long, and the next one takes as many again", () => {
  let now = 0;
  const happens = createBurst(3, 100, () => now);
  const at = (ms: number) => {
    now = ms;
    return happens();
  };
  expect([at(0), at(60), at(100), at(120)]).toEqual([false, false, false, true]);
  expect([at(121), at(122), at(123)]).toEqual([false, false, true]);
  expect([at(300), at(400), at(500)]).toEqual([false, false, false]);
});
