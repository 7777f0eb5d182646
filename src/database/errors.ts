import { PerchError } from "../errors.js";
import { MessageTooLarge } from "./message-too-large.js";

/**
 * What an error of a statement means. The one place that knows SQLSTATEs and drivers' errors: everybody else asks for a property.
 *
 * own         perch's own answer (PExxx), which says what to do
 * input       the database cannot read or hold what it was given
 * rule        a constraint or a trigger of the app refused it
 * contended   undone because of who else was at work, or because it took too long
 * full        undone because the database takes nothing now: no space, memory or connection left, notifications that nobody fetches, a standby
 * away        the connection went, or the server goes, before the answer came
 * broken      the server failed inside
 * defect      a mistake in a program: of perch's, or in how it was installed
 */
export type Meaning = "own" | "input" | "rule" | "contended" | "full" | "away" | "broken" | "defect";

interface Properties {
  /** Whether it is certain that the statement had no effect. */
  readonly undone: boolean;
  /** Whether the same again may succeed in a while. */
  readonly passing: boolean;
}

const properties: Readonly<Record<Meaning, Properties>> = {
  own: { undone: true, passing: false },
  input: { undone: true, passing: false },
  rule: { undone: true, passing: false },
  contended: { undone: true, passing: true },
  full: { undone: true, passing: true },
  away: { undone: false, passing: true },
  broken: { undone: false, passing: true },
  defect: { undone: true, passing: false },
};

/** The first line that fits a SQLSTATE says what it means. */
const states: readonly (readonly [RegExp, Meaning])[] = [
  [/^PE/, "own"],
  // Serialization failure, deadlock; lock timeout; a statement that was ended for its time, or by an operator.
  [/^(40...|55P03|57014)$/, "contended"],
  // Also a server that only reads.
  [/^(53...|25006)$/, "full"],
  [/^(08...|57...)$/, "away"],
  [/^(58...|XX...)$/, "broken"],
  // Text that is no number where one is wanted, a NUL in a string, nesting beyond the parser's stack.
  [/^(22...|54...)$/, "input"],
  // P0001 is what RAISE gives when it names nothing else.
  [/^(23...|44000|P0001)$/, "rule"],
];

/** What JavaScript throws at a mistake in a program, and at an answer that nobody can take: the same again fails again. */
const mistakes = [TypeError, RangeError, ReferenceError, SyntaxError, MessageTooLarge];

const isMistake = (error: unknown) =>
  // By its name: nobody who needs no zod is to load it for this.
  mistakes.some((kind) => error instanceof kind) || (error instanceof Error && error.name === "ZodError");

/** Errors of connections: drivers throw them as they throw anything, without a SQLSTATE and of no class of their own. */
const ofConnections = new WeakSet<object>();

/**
 * Takes note of an error that was caught where nothing but a driver, or who waited for it, can have thrown it: without a SQLSTATE it is of
 * the connection. What has neither, and was not caught there, is a mistake in a program. Out: the error.
 */
export function thrownByDriver(error: unknown): unknown {
  if (typeof error === "object" && error !== null) ofConnections.add(error);
  return error;
}

/** In: whatever a query or a transaction threw, or what was done in it. */
export function meaningOf(error: unknown): Meaning {
  if (error instanceof PerchError) return "own";
  const state = sqlStateOf(error);
  if (state === undefined) {
    const isOfConnection = typeof error === "object" && error !== null && ofConnections.has(error);
    return isOfConnection && !isMistake(error) ? "away" : "defect";
  }
  if (isFullNotificationQueue(error)) return "full";
  return states.find(([pattern]) => pattern.test(state))?.[1] ?? "defect";
}

/** Every commit that notifies fails, until others fetch. Only where it was raised tells it from a value that is too long. */
export function isFullNotificationQueue(error: unknown): boolean {
  return sqlStateOf(error) === "54000" && (error as { file?: unknown }).file === "async.c";
}

/** The SQLSTATE of an error; undefined when the database has not answered with one. */
export function sqlStateOf(error: unknown): string | undefined {
  const { code } = (typeof error === "object" && error !== null ? error : {}) as { code?: unknown };
  // Node's EPIPE and EBUSY have five letters as well; Postgres has no class E.
  return typeof code === "string" && /^(?!E)[0-9A-Z]{5}$/.test(code) ? code : undefined;
}

/** Whether the same again may succeed in a while: nothing that was asked is at fault. */
export function isPassing(error: unknown): boolean {
  return properties[meaningOf(error)].passing;
}

/** Whether it is certain that the statement had no effect; false for what is not the database's answer, which may come after a commit. */
export function isUndone(error: unknown): boolean {
  return sqlStateOf(error) !== undefined && properties[meaningOf(error)].undone;
}

/** Whether the database would refuse it again, whoever asks: it must not stand in the way of others for ever. */
export function isFinal(error: unknown): boolean {
  return ["input", "rule"].includes(meaningOf(error));
}

/** Whether Postgres undid a whole transaction for the sake of another one: a serialization failure, a deadlock. */
export function isUndoneForAnother(error: unknown): boolean {
  return /^(40001|40P01)$/.test(sqlStateOf(error) ?? "");
}

/** Whether an expression cannot be evaluated: its parts do not fit each other, or it fails for a value that it meets. */
export const cannotEvaluate = (error: unknown): boolean =>
  /^(22...|42883|42804|42725|42846|42P18|42P2[12]|54001)$/.test(sqlStateOf(error) ?? "");

export const lockTimeoutCode = "55P03";

/** Whether a lock was waited for as long as `lock_timeout` says. */
export const isLockTimeout = (error: unknown): boolean => sqlStateOf(error) === lockTimeoutCode;

/** Whether Postgres ended a statement, for its time or because it was asked to. */
export const isCancelled = (error: unknown): boolean => sqlStateOf(error) === "57014";

/** Whether the database takes no writes since it is being moved to another one, or was (perch move). */
export const isMoving = (error: unknown): boolean =>
  sqlStateOf(error) === "25006" && (error as { schema?: unknown }).schema === "perch_move";

/** Whether the login lacks a right. */
export const lacksRight = (error: unknown): boolean => sqlStateOf(error) === "42501";

/** Whether a function is called that is not there. */
export const lacksFunction = (error: unknown): boolean => sqlStateOf(error) === "42883";

/** Whether a table is asked for that is not there. */
export const lacksTable = (error: unknown): boolean => sqlStateOf(error) === "42P01";

/** Whether the server has no connection left. */
export const lacksConnections = (error: unknown): boolean => sqlStateOf(error) === "53300";

/** Whether a rule was broken together with what others have written: a foreign key, a unique or an exclusion constraint. */
export const isConflict = (error: unknown): boolean => /^(23503|23505|23P01)$/.test(sqlStateOf(error) ?? "");

const troubles: Readonly<Record<string, string>> = {
  "53100": "its disk is full",
  "53200": "it is out of memory",
  "53300": "it has no connection left",
  "25006": "it only reads",
  "54000": "its queue of notifications is full",
  "28P01": "it refuses the password",
  "28000": "it refuses this login",
  "3D000": "it has no such database",
  "57P03": "it is just starting up or shutting down",
  ECONNREFUSED: "nothing listens there",
  ENOTFOUND: "there is no such host",
  EAI_AGAIN: "its name cannot be looked up",
  ETIMEDOUT: "it does not answer",
  ECONNRESET: "it closed the connection",
};

/** What is wrong with the database, in words for people, by the code of an error; undefined where the code says nothing of that. */
export function troubleOf(error: unknown): string | undefined {
  const { code } = (typeof error === "object" && error !== null ? error : {}) as { code?: unknown };
  return typeof code === "string" && Object.hasOwn(troubles, code) ? troubles[code] : undefined;
}

/** What reading a text as JSON fails with, by what is in it that the database cannot hold. */
export const unreadableJson = { nul: "22P05", halfCharacter: "22P02", number: "22003", depth: "54001" } as const;

/** The name of the constraint that was broken, where one was. */
export function constraintOf(error: unknown): string | undefined {
  const { constraint } = (typeof error === "object" && error !== null ? error : {}) as { constraint?: unknown };
  return typeof constraint === "string" && constraint !== "" ? constraint : undefined;
}
