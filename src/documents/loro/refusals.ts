import { PerchError } from "../../errors.js";
import { exactDigits } from "./json.js";

/** An update that cannot be taken in, whatever the table's fields. */
export function refused(reason: string, more: object = {}): PerchError {
  return new PerchError("PE422", `the update was refused: ${reason}`, { reason, ...more });
}

/** An update whose peer made operations before it that neither the document nor its other updates have. */
export function missingBase(peer: string): PerchError {
  return refused("it builds on updates that are not here", { missing: peer });
}

/** An update with new operations under a peer that somebody else writes under. */
export function peerTaken(peer: string): PerchError {
  return refused(`peer id ${peer} belongs to another writer`, { peer });
}

/** An update that was made in, or on top of, an incarnation of the document that has ended. */
export function lateForIncarnation(peer: string): PerchError {
  return new PerchError("PE410", "the update belongs to a document that was deleted; read the document anew", {
    reason: "deleted",
    peer,
  });
}

/** Over a limit, which it names. */
export function tooLarge(
  limit: string,
  max: number,
  got: number,
  where: { table?: string; field?: string } = {},
): PerchError {
  const place =
    where.field === undefined ? "" : ` in ${where.table === undefined ? "" : `${where.table}.`}${where.field}`;
  return new PerchError("PE413", `${limit} of ${got}${place} is over the limit of ${max}`, {
    limit,
    max,
    got,
    ...where,
  });
}

export interface Mismatch {
  table: string;
  /** The field, with the path inside it: `tags[3].name`. */
  field: string;
  expected: string;
  got: string;
}

/** The error of everything that does not fit the declaration. */
export function mismatch(schema: { readonly table: string }, field: string, expected: string, got: string): PerchError {
  const detail: Mismatch = { table: schema.table, field, expected, got };
  return new PerchError("PE422", `${schema.table}.${field}: expected ${expected}, got ${got}`, detail);
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
