import type { ScalarKind } from "./fields.js";
import { exactDigits } from "./json.js";

/** Date with an optional time, the time with an offset: what ISO 8601, RFC 3339 and Postgres's to_jsonb agree on. */
const datetimePattern = /^\d{4,6}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}(:?\d{2})?))?$/;
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
      return typeof value === "string" && isDatetime(value);
    case "json":
      return true;
  }
}

function isDatetime(text: string): boolean {
  if (!datetimePattern.test(text)) return false;
  const [, year, month, day] = /^(\d+)-(\d\d)-(\d\d)/.exec(text) ?? [];
  const date = new Date(0);
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
  if (date.getUTCMonth() !== Number(month) - 1 || date.getUTCDate() !== Number(day)) return false;
  const time = /T(\d\d):(\d\d)(?::(\d\d))?/.exec(text);
  return !time || (Number(time[1]) <= 24 && Number(time[2]) <= 59 && Number(time[3] ?? 0) <= 60);
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
