import { exactDigits, toJson } from "../json.js";
import type { ScalarKind } from "./kind.js";

export const string: ScalarKind = {
  expected: "a string",
  accept: (value, { json }) => (string.fits(value) && exactDigits(value) === undefined ? json(value) : undefined),
  fits: (value) => typeof value === "string",
  read: toJson,
};
