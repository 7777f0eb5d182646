import { isUndone, meaningOf } from "../../database/errors.js";

/**
 * What a failed statement says about its effect.
 * contended  undone, because of who else was at work: the same again may well succeed
 * undone     undone, because of what it was: the same again fails again
 * unknown    the connection went before the answer came, so it may have been committed, or may still be
 */
export type Failure = "contended" | "undone" | "unknown";

/** In: what `Database.query` or `transaction` threw. */
export function failureOf(error: unknown): Failure {
  if (!isUndone(error)) return "unknown";
  return meaningOf(error) === "contended" ? "contended" : "undone";
}
