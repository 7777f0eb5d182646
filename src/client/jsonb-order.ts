import { compareDecimals, decimalOf } from "./decimal.js";
import { ExactNumber } from "./exact-json.js";

/** In the order of UTF-8 bytes, which is that of code points. */
export function compareText(a: string, b: string): number {
  let at = 0;
  while (at < a.length && a[at] === b[at]) at++;
  const [left = -1, right = -1] = [a.charCodeAt(at), b.charCodeAt(at)].map((unit) => (Number.isNaN(unit) ? -1 : unit));
  // Surrogates stand for what comes behind all other code units.
  const rank = (unit: number) =>
    unit >= 0xd800 && unit <= 0xdfff ? unit + 0x2000 : unit >= 0xe000 ? unit - 0x800 : unit;
  return rank(left) - rank(right);
}

const types = ["null", "string", "number", "boolean", "array", "object"] as const;

function typeOf(value: unknown): (typeof types)[number] {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (value instanceof ExactNumber) return "number";
  const type = typeof value;
  return type === "string" || type === "number" || type === "boolean" ? type : "object";
}

const rank = (value: unknown) => types.indexOf(typeOf(value));

/**
 * The order by which of two values written in the same instant by the same client the greater wins: that of jsonb, strings byte by
 * byte. (Inside of lists and objects Postgres orders strings by the database's collation, and this by bytes.) A value by itself, not inside of another: there, and only there, an empty array comes before all else.
 */
export function compareJsonb(a: unknown, b: unknown): number {
  const isEmpty = (value: unknown) => Array.isArray(value) && value.length === 0;
  if (isEmpty(a) !== isEmpty(b)) return isEmpty(a) ? -1 : 1;
  return compareParts(a, b);
}

function compareParts(a: unknown, b: unknown): number {
  const order = rank(a) - rank(b);
  if (order !== 0) return order;
  switch (typeOf(a)) {
    case "string":
      return compareText(a as string, b as string);
    case "number":
      return compareDecimals(decimalOf(String(a)), decimalOf(String(b)));
    case "boolean":
      return Number(a) - Number(b);
    case "array":
      return compareLists(a as unknown[], b as unknown[], compareParts);
    case "object":
      return compareLists(pairsOf(a as object), pairsOf(b as object), comparePairs);
    default:
      return 0;
  }
}

/** The longer is greater; of equal length, the first that differs decides. */
function compareLists<T>(a: readonly T[], b: readonly T[], compare: (a: T, b: T) => number): number {
  if (a.length !== b.length) return a.length - b.length;
  for (const [nth, item] of a.entries()) {
    const order = compare(item, b[nth] as T);
    if (order !== 0) return order;
  }
  return 0;
}

type Pair = readonly [name: string, value: unknown];

const comparePairs = (a: Pair, b: Pair) => compareText(a[0], b[0]) || compareParts(a[1], b[1]);

/** As jsonb stores them: shorter names first. */
const pairsOf = (value: object): Pair[] =>
  Object.entries(value).sort(([a], [b]) => bytesOf(a) - bytesOf(b) || compareText(a, b));

const bytesOf = (text: string) => new TextEncoder().encode(text).length;
