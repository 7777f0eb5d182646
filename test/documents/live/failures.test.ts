import { expect, it } from "vitest";
import { isPassing, thrownByDriver } from "../../../src/database/errors.js";
import { failureOf } from "../../../src/documents/live/failures.js";
import { PerchError } from "../../../src/errors.js";

const coded = (code?: string) => thrownByDriver(Object.assign(new Error("failed"), code === undefined ? {} : { code }));

it.each(["ECONNRESET", "EPIPE", "ETIMEDOUT", undefined, "57P01", "08006", "58030", "XX000"])(
  "an append that failed with %s may have been committed: nobody knows",
  (code) => {
    expect(failureOf(coded(code))).toBe("unknown");
    expect(isPassing(coded(code))).toBe(true);
  },
);

it.each(["53100", "53200", "53300"])("an append that failed with %s was undone, but not for what it was", (code) => {
  expect(failureOf(coded(code))).toBe("undone");
  expect(isPassing(coded(code))).toBe(true);
});

it("an append that perch or the database refused was undone, and will be again", () => {
  expect(failureOf(new PerchError("PE403", "not yours"))).toBe("undone");
  expect(failureOf(coded("22P05"))).toBe("undone");
  expect(isPassing(coded("22P05"))).toBe(false);
  expect(isPassing(new PerchError("PE422", "does not decode"))).toBe(false);
});
