import { ExactNumber } from "../index.js";

export type Row = Record<string, unknown>;

/** A row as values of JSON, wherever in it others are: integers of eight bytes, times, numbers that a double does not hold. */
export const plainRow = (row: object): Row => mapped(row, (value) => plainValue(value, false));
/** The same, with its times as they are. */
export const plainButTimes = (row: object): Row => mapped(row, (value) => plainValue(value, true));
/** The row that it was made of. */
export const rowOfPlain = (row: object): Row => mapped(row, valueOfPlain);

const mapped = (row: object, change: (value: unknown) => unknown): Row =>
  Object.fromEntries(Object.entries(row).map(([name, value]) => [name, change(value)]));

const mark = "perch:type";
type Marked = { readonly [mark]: string; readonly text: string };
const isMarked = (value: object): value is Marked => mark in value;
const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;
const marked = (type: string, text: string): Marked => ({ [mark]: type, text });

function plainValue(value: unknown, keepsTimes: boolean): unknown {
  if (typeof value === "bigint") return marked("bigint", String(value));
  if (value instanceof Date) return keepsTimes ? value : marked("date", value.toISOString());
  if (value instanceof ExactNumber) return marked("number", value.text);
  if (Array.isArray(value)) return value.map((each) => plainValue(each, keepsTimes));
  if (!isObject(value)) return value;
  return isMarked(value)
    ? marked("object", JSON.stringify(plainRow(value)))
    : mapped(value, (each) => plainValue(each, keepsTimes));
}

function valueOfPlain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(valueOfPlain);
  if (!isObject(value) || value instanceof Date) return value;
  if (!isMarked(value)) return rowOfPlain(value);
  if (value[mark] === "bigint") return BigInt(value.text);
  if (value[mark] === "date") return new Date(value.text);
  if (value[mark] === "number") return new ExactNumber(value.text);
  return rowOfPlain(JSON.parse(value.text) as object);
}
