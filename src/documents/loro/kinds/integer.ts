import { exactDigits, exactInteger, toJson } from "../json.js";
import type { ScalarKind } from "./kind.js";

/** Integers of any size, written exactly. */
const digits = /^-?(0|[1-9]\d*)$/;

export const integer: ScalarKind = {
  expected: "an integer, or one as a decimal string",
  accept(value) {
    const exact = exactDigits(value);
    if (exact !== undefined) return exactInteger(exact);
    if (!integer.fits(value)) return undefined;
    return exactInteger(typeof value === "string" ? BigInt(value) : (value as number));
  },
  fits: (value) =>
    typeof value === "number" ? Number.isInteger(value) : typeof value === "string" && digits.test(value),
  // Small again if a string held it needlessly.
  read: (value) => (typeof value === "string" && /^-?\d+$/.test(value) ? exactInteger(BigInt(value)) : toJson(value)),
};
