import { PerchError } from "../errors.js";
import type { FilterNode } from "./tree.js";

/** What a column is taken to hold: as much as a change may bring. */
const columnBytes = 1_000_000;
/** What any part of a filter may come to then. */
const maxBytes = 64_000_000;
/** In an array each item has a header, and a pointer while it is put together. */
const itemBytes = 32;

/** Parts that are true, false or null. */
const booleans = new Set(["and", "or", "not", "is", "distinct", "any", "all", "in"]);
const comparisons = /^([=<>!~@?&]|<>|!=|<=|>=|!?~~?\*?|@>|<@|&&|\?[|&]?|-\|-|&<|&>|\^@)$/;
/** Writing a text into another form escapes some of it, once more with each time: "\" becomes "\\". */
const escapes: Readonly<Record<string, number>> = { to_jsonb: 6, text: 2, like_escape: 2, similar_to_escape: 2 };
const texts = new Set(["text", "varchar", "bpchar", "name", "jsonb", "bytea"]);

/**
 * Refuses a filter whose parts may come to much more than there is in the row: what is put together is held by the database, and a
 * few functions, each of the result of the other, make a gigabyte of ten letters (`replace(replace('aaaaaaaaaa', 'a', 'aaaaaaaaaa'), …`). Of each
 * part is worked out what it may come to at most, from what a column may hold. Errors: PE422.
 */
export function refuseGrowth(node: FilterNode, argument: string): void {
  bytesOf(node, argument);
}

function bytesOf(node: unknown, argument: string): number {
  if (!Array.isArray(node)) return 0;
  const bytes = estimate(node, argument);
  if (bytes <= maxBytes) return bytes;
  const detail = { argument, limit: "filter_growth", max: maxBytes };
  throw new PerchError("PE422", "the filter makes much more of the row than there is in it", detail);
}

function estimate(node: FilterNode, argument: string): number {
  const [word, first, second] = node;
  const all = (nodes: unknown): number[] => (Array.isArray(nodes) ? nodes.map((each) => bytesOf(each, argument)) : []);
  const sum = (nodes: unknown) => all(nodes).reduce((total, bytes) => total + bytes, 0);
  if (word === "column") return columnBytes;
  if (word === "value") return Buffer.byteLength(String(first ?? ""));
  if (word === "cast") return bytesOf(first, argument) * (node[3] === true || texts.has(String(second)) ? 2 : 1);
  if (word === "call") return call(String(first), second, sum(second), argument);
  if (word === "op") return comparisons.test(String(first)) ? Math.min(1, sum(second)) : sum(second);
  if (word === "array") return sum(first) + itemBytes * (Array.isArray(first) ? first.length : 0);
  // Of the others it is one of their parts at most.
  const parts = node.slice(1).flatMap((part) => flat(part, argument));
  return booleans.has(String(word)) ? 1 : Math.max(0, ...parts);
}

/** Of a part, or of a list of parts or of pairs of them. */
function flat(part: unknown, argument: string): number[] {
  if (!Array.isArray(part)) return [];
  return typeof part[0] === "string" ? [bytesOf(part, argument)] : part.flatMap((each) => flat(each, argument));
}

function call(name: string, parts: unknown, bytes: number, argument: string): number {
  const given = Array.isArray(parts) ? (parts as FilterNode[]) : [];
  /** How many bytes a constant is that decides how often something is put in. */
  const constant = (nth: number): number => {
    const [word, inner] = given[nth] ?? ["value", ""];
    const part = word === "cast" ? (inner as FilterNode) : (given[nth] ?? ["value", ""]);
    if (part[0] === "value") return Buffer.byteLength(String(part[1] ?? ""));
    throw new PerchError("PE422", `a filter may only put constants in with ${name}`, { argument, function: name });
  };
  if (name === "replace") return bytes * Math.max(1, constant(2) / Math.max(1, constant(1)));
  if (name === "array_to_string") return bytes * (1 + constant(1) + constant(2));
  if (name === "string_to_array") return bytes * itemBytes;
  return bytes * (escapes[name] ?? 1);
}
