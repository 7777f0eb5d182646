import { PerchError } from "../../errors.js";

/**
 * What a failed statement says about its effect.
 * contended  undone, because of who else was at work: the same again may well succeed
 * undone     undone, because of what it was: the same again fails again
 * unknown    the connection went before the answer came, so it may have been committed, or may still be
 */
export type Failure = "contended" | "undone" | "unknown";

/** Serialization failure, deadlock, lock timeout. */
const contended = new Set(["40001", "40P01", "55P03"]);

/** Connection trouble, the server going away, its system or internal errors: none of them says what became of a commit. */
const unknownClasses = ["08", "57P", "58", "XX"];

/** In: what `Database.query` or `transaction` threw. */
export function failureOf(error: unknown): Failure {
  if (error instanceof PerchError) return "undone";
  const code = (error as { code?: unknown } | null)?.code;
  if (!isSqlState(code)) return "unknown";
  if (contended.has(code)) return "contended";
  return unknownClasses.some((start) => code.startsWith(start)) ? "unknown" : "undone";
}

/** A driver's own errors have codes such as ECONNRESET, or none. A SQLSTATE has five characters, like EPIPE, but no class EP. */
function isSqlState(code: unknown): code is string {
  return typeof code === "string" && /^[0-9A-Z]{5}$/.test(code) && code !== "EPIPE";
}

/** Whether an error says that the database is away, busy or full: not the fault of what was asked, and over some time. */
export function isPassing(error: unknown): boolean {
  const { code } = (error ?? {}) as { code?: unknown };
  return failureOf(error) !== "undone" || (isSqlState(code) && code.startsWith("53"));
}
