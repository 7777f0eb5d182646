import { exactDigits, finiteOrNull, toJson } from "../json.js";
import type { ScalarKind } from "./kind.js";

export const number: ScalarKind = {
  expected: "a finite number",
  accept(value) {
    const plain = exactDigits(value) === undefined ? value : Number(exactDigits(value));
    return number.fits(plain) ? (plain as number) : undefined;
  },
  fits: (value) => typeof value === "number" && Number.isFinite(value),
  // Beyond 2^53 too: it is no integer.
  read: (value) => (typeof value === "number" ? finiteOrNull(value) : toJson(value)),
};
