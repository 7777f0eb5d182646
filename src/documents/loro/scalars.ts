import type { ScalarKind } from "./fields.js";
import { exactDigits } from "./json.js";

/**
 * A date of the years 1 to 9999, alone or with a time and its offset: perch.is_datetime has the same, and a test holds them together. It
 * knows the calendar, so Postgres reads whatever it takes.
 */
const datetimePattern =
  /^(?!0000)(?:\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))|(?:\d{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)(?:T(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,9})?)?(?:Z|[+-](?:0\d|1[0-5])(?::?[0-5]\d)?))?$/;
/** Integers of any size, written exactly. */
const integerPattern = /^-?(0|[1-9]\d*)$/;

export const scalarExpectations: Readonly<Record<ScalarKind, string>> = {
  string: "a string",
  number: "a finite number",
  integer: "an integer, or one as a decimal string",
  boolean: "true or false",
  datetime: "an ISO 8601 date, or time with its offset",
  json: "a JSON value",
};

/** Whether a value, not null, may stand in a field of this kind: by patch or written by a Loro client. */
export function fitsScalar(kind: ScalarKind, value: unknown): boolean {
  switch (kind) {
    case "string":
      return typeof value === "string";
    case "number":
      return typeof value === "number" && Number.isFinite(value);
    case "integer":
      return typeof value === "number"
        ? Number.isInteger(value)
        : typeof value === "string" && integerPattern.test(value);
    case "boolean":
      return typeof value === "boolean";
    case "datetime":
      return typeof value === "string" && datetimePattern.test(value);
    case "json":
      return true;
  }
}

/** How a value is called in error messages: its kind, and its content when that is short. */
export function describeValue(value: unknown): string {
  const digits = exactDigits(value);
  if (digits !== undefined) return `the number ${digits}`;
  if (value === null) return "null";
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === "object") return "an object";
  if (typeof value === "string")
    return value.length <= 40 ? `the string ${JSON.stringify(value)}` : `a string of ${value.length}`;
  return `the ${typeof value} ${String(value)}`;
}
