import { PerchError } from "../errors.js";
import type { FilterNode } from "./tree.js";

/** What a column is taken to hold: as much as a change may bring. */
const columnBytes = 1_000_000;
/** What any part of a filter may come to then, */
const maxBytes = 64_000_000;
/** and how long Postgres may be at one row, in nanoseconds: nothing stops it in the midst of one. */
const maxNanoseconds = 5e9;
/** In an array each item has a header, and a pointer while it is put together. */
const itemBytes = 32;

/** Parts that are true, false or null. */
const booleans = new Set(["and", "or", "not", "is", "distinct", "any", "all", "in", "select"]);
const comparisons = /^([=<>!~@?&]|<>|!=|<=|>=|!?~~?\*?|@>|<@|&&|\?[|&]?|-\|-|&<|&>|\^@)$/;
/** Writing a text into another form escapes some of it, once more with each time: "\" becomes "\\". */
const escapes: Readonly<Record<string, number>> = { to_jsonb: 6, text: 2, like_escape: 2, similar_to_escape: 2 };
const texts = new Set(["text", "varchar", "bpchar", "name", "jsonb", "bytea"]);
/** What takes a time by the product of what its two sides are long: nanoseconds for a byte of the one and one of the other, as measured. */
const products: Readonly<Record<string, number>> = {
  ...Object.fromEntries(["~~", "!~~", "~~*", "!~~*", "like", "notlike"].map((name) => [name, 2])),
  ...Object.fromEntries(["position", "strpos", "split_part", "replace", "string_to_array"].map((name) => [name, 2])),
  ...Object.fromEntries(["translate", "btrim", "ltrim", "rtrim"].map((name) => [name, 40])),
  ...Object.fromEntries(["@>", "<@", "&&", "?|", "?&", "jsonb_contains"].map((name) => [name, 1])),
  ...Object.fromEntries(["jsonb_exists_any", "jsonb_exists_all"].map((name) => [name, 1])),
};

/**
 * Refuses a filter that may cost the database more than its rows are worth. What is put together is held in memory, and a few functions, each of
 * the result of the other, make a gigabyte of ten letters (`replace(replace('aaaaaaaaaa', 'a', 'aaaaaaaaaa'), …`). And what compares two long
 * texts takes a time by the product of their lengths, minutes for a megabyte, in which neither a time-out nor a cancellation stops it. Of each
 * part is worked out what it may come to at most, from what a column may hold. Errors: PE422.
 */
export function refuseDear(node: FilterNode, argument: string): void {
  createScale(argument)(node);
}

function createScale(argument: string): (node: unknown) => number {
  let nanoseconds = 0;

  const refused = (message: string, limit: string, max: number) =>
    new PerchError("PE422", message, { argument, limit, max });

  function bytesOf(node: unknown): number {
    if (!Array.isArray(node)) return 0;
    const bytes = estimate(node);
    if (bytes <= maxBytes) return bytes;
    throw refused("the filter makes much more of the row than there is in it", "filter_growth", maxBytes);
  }

  function estimate(node: FilterNode): number {
    const [word, first, second] = node;
    if (word === "column") return columnBytes;
    if (word === "value") return Buffer.byteLength(String(first ?? ""));
    if (word === "cast") return bytesOf(first) * (node[3] === true || texts.has(String(second)) ? 2 : 1);
    if (word === "call") return call(String(first), second);
    if (word === "op") return operation(String(first), second);
    if (word === "any" || word === "all") {
      compared(String(first), [bytesOf(second), bytesOf(node[3])]);
      return 1;
    }
    if (word === "array") return sum(first) + itemBytes * (Array.isArray(first) ? first.length : 0);
    // Of the others it is one of their parts at most.
    const parts = node.slice(1).flatMap(flat);
    return booleans.has(String(word)) ? 1 : Math.max(0, ...parts);
  }

  const each = (nodes: unknown): number[] => (Array.isArray(nodes) ? nodes.map(bytesOf) : []);
  const sum = (nodes: unknown) => each(nodes).reduce((total, bytes) => total + bytes, 0);

  /** Of a part, or of a list of parts or of pairs of them. */
  function flat(part: unknown): number[] {
    if (!Array.isArray(part)) return [];
    return typeof part[0] === "string" ? [bytesOf(part)] : part.flatMap(flat);
  }

  /** The longest is held against each of the others. */
  function compared(name: string, bytes: readonly number[]): void {
    const [longest = 0, ...others] = [...bytes].sort((a, b) => b - a);
    const rate = Object.hasOwn(products, name) ? (products[name] ?? 0) : 0;
    nanoseconds += others.reduce((total, other) => total + rate * longest * other, 0);
    if (nanoseconds <= maxNanoseconds) return;
    const message = "the filter compares what may be long with what may be long, too: hold it to a short constant";
    throw refused(message, "filter_time", maxNanoseconds);
  }

  function operation(name: string, parts: unknown): number {
    const bytes = each(parts);
    compared(name, bytes);
    return comparisons.test(name) ? 1 : bytes.reduce((total, one) => total + one, 0);
  }

  function call(name: string, parts: unknown): number {
    const given = Array.isArray(parts) ? (parts as FilterNode[]) : [];
    const all = each(given);
    compared(name, all);
    const bytes = all.reduce((total, one) => total + one, 0);
    /** How many bytes a constant is that decides how often something is put in. */
    const constant = (nth: number): number => {
      const part = given[nth] ?? ["value", ""];
      const [word, value] = part[0] === "cast" ? (part[1] as FilterNode) : part;
      if (word === "value") return Buffer.byteLength(String(value ?? ""));
      throw new PerchError("PE422", `a filter may only put constants in with ${name}`, { argument, function: name });
    };
    if (name === "replace") return bytes * Math.max(1, constant(2) / Math.max(1, constant(1)));
    if (name === "array_to_string") return bytes * (1 + constant(1) + constant(2));
    if (name === "string_to_array") return bytes * itemBytes;
    return bytes * (escapes[name] ?? 1);
  }

  return bytesOf;
}
