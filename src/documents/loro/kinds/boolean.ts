import { toJson } from "../json.js";
import type { ScalarKind } from "./kind.js";

export const boolean: ScalarKind = {
  expected: "true or false",
  accept: (value) => (typeof value === "boolean" ? value : undefined),
  fits: (value) => typeof value === "boolean",
  read: toJson,
};
