import { storable } from "../../database/text.js";
import { isContainer } from "./is-container.js";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/**
 * JSON numbers lose digits beyond 2^53 in JavaScript, so an integer that large is a decimal string, in whatever kind but `number` and
 * `counter`, and whichever way it came.
 */
export function exactInteger(value: number | bigint): number | string {
  if (typeof value === "bigint") {
    return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)
      ? Number(value)
      : value.toString();
  }
  return Number.isInteger(value) && !Number.isSafeInteger(value) ? BigInt(value).toString() : value;
}

/** Integers that are parsed exactly travel from the parser to the validation as strings that no JSON of a caller can contain. */
const exactPrefix = `\u0000${crypto.randomUUID()}:`;
const tokens = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** JSON.parse, but integers beyond 2^53 keep their digits: `exactDigits` tells them from other strings. */
export function parseExact(text: string): unknown {
  const value: unknown = JSON.parse(text);
  if (!/\d{16}/.test(text)) return value;
  const marked = text.replace(tokens, (token) =>
    token.startsWith('"') || !/^-?\d+$/.test(token) || Number.isSafeInteger(Number(token))
      ? token
      : JSON.stringify(exactPrefix + BigInt(token)),
  );
  return JSON.parse(marked);
}

/** The digits of an integer that `parseExact` met; undefined for every other value. */
export function exactDigits(value: unknown): bigint | undefined {
  if (typeof value === "bigint") return value;
  if (typeof value === "string" && value.startsWith(exactPrefix)) return BigInt(value.slice(exactPrefix.length));
  return undefined;
}

/**
 * A value out of Loro as JSON that Postgres stores: no U+0000, which would make a document impossible to project, no number that JSON lacks (null instead), integers beyond 2^53 as decimal strings,
 * bytes as a list of numbers (as Loro itself writes them in JSON), a nested container as its value.
 */
export function toJson(value: unknown): Json {
  switch (typeof value) {
    case "string":
      return storable(value);
    case "number":
      return Number.isFinite(value) ? exactInteger(value) : null;
    case "boolean":
      return value;
    case "object":
      break;
    default:
      return null;
  }
  if (value === null) return null;
  if (value instanceof Uint8Array) return [...value];
  if (Array.isArray(value)) return value.map(toJson);
  if (isContainer(value)) return toJson(value.toJSON());
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [storable(key), toJson(item)]));
}

/** JSON has no infinities. */
export function finiteOrNull(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/** Deep equality of JSON values. Objects are equal whatever the order of their keys. */
export function sameJson(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((item, index) => sameJson(item, b[index]));
  }
  if (Array.isArray(b)) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && sameJson(a[key], b[key]))
  );
}

/** The same text for equal values, another for different ones. */
export function canonicalJson(value: Json): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  const entries = Object.keys(value)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonicalJson(value[key] as Json)}`);
  return `{${entries.join(",")}}`;
}
