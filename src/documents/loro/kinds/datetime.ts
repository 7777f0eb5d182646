import { toJson } from "../json.js";
import type { ScalarKind } from "./kind.js";

/**
 * A date of the years 1 to 9999, alone or with a time and its offset: perch.is_datetime has the same, and a test holds them together. It
 * knows the calendar, so Postgres reads whatever it takes.
 */
const pattern =
  /^(?!0000)(?:\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))|(?:\d{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)(?:T(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,9})?)?(?:Z|[+-](?:0\d|1[0-5])(?::?[0-5]\d)?))?$/;

export const datetime: ScalarKind = {
  expected: "an ISO 8601 date, or time with its offset",
  accept: (value) => (datetime.fits(value) ? (value as string) : undefined),
  fits: (value) => typeof value === "string" && pattern.test(value),
  read: toJson,
};
