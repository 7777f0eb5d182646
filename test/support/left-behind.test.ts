import { expect, it } from "vitest";
import { leftBehind, shared } from "./left-behind.js";

it("tells what a test file has set for those after it", () => {
  const before = shared();
  const { WebSocket } = globalThis;
  Object.assign(globalThis, { WebSocket: class {} });
  process.env.SET_BY_A_TEST = "1";
  const left = leftBehind(before, shared());
  Object.assign(globalThis, { WebSocket });
  delete process.env.SET_BY_A_TEST;
  expect(left).toEqual(["WebSocket", "process.env.SET_BY_A_TEST"]);
  expect(leftBehind(before, shared())).toEqual([]);
});
