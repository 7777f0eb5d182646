import { toJson } from "../json.js";
import type { ScalarKind } from "./kind.js";

export const json: ScalarKind = {
  expected: "a JSON value",
  accept: (value, checking) => checking.json(value),
  fits: () => true,
  read: toJson,
};
