import { expect, it } from "vitest";
import { createErrands } from "../../src/worker/errands.js";

/** The rests that errands of a document are given after so many failures with this error. */
async function rests(error: unknown, failures: number): Promise<number[]> {
  const given: number[] = [];
  const errands = createErrands("doing it", 1, {
    info: () => undefined,
    warn: (details) => given.push((details as { rest: number }).rest),
  });
  for (let n = 0; n < failures; n++) {
    await errands.run("d", async () => {
      throw error;
    });
  }
  return given;
}

it("a document rests ever longer while its own error lasts, at most a minute", async () => {
  const own = Object.assign(new Error("division by zero"), { code: "22012" });
  expect(await rests(own, 9)).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
});

it.each([
  ["the connection broke", { code: "ECONNRESET" }],
  ["the database shut down", { code: "57P01" }],
  ["the disk is full", { code: "53100" }],
  ["somebody holds a lock", { code: "55P03" }],
])("when %s, it is tried again within 5 s however long that lasted", async (_, error) => {
  expect(Math.max(...(await rests(Object.assign(new Error("away"), error), 12)))).toBe(5_000);
});
