import type { Logger } from "pino";
import { meaningOf } from "../database/errors.js";

/** What a log may say of an error. */
interface LoggedError {
  type: string;
  code?: string;
  message?: string;
  stack?: string;
}

/** The messages of data exceptions quote the values; of broken constraints only the details do, which are left out. */
const quotesValues = (error: unknown) => meaningOf(error) === "input";

/**
 * A serializer for pino's `err`. Drivers hang the statement's parameters on their errors, and Postgres quotes values in details:
 * content of users, which logs must not hold. Kept are type, code, where it was thrown, and the message unless it quotes values.
 */
export function loggedError(error: unknown): LoggedError {
  if (!(error instanceof Error)) return { type: typeof error };
  const { code } = error as { code?: unknown };
  const quotes = quotesValues(error);
  const frames = error.stack?.split("\n").filter((line) => /^\s+at /.test(line));
  return {
    type: error.name,
    ...(typeof code === "string" && { code }),
    ...(!quotes && { message: error.message }),
    ...(frames && { stack: frames.join("\n") }),
  };
}

export type Warn = (error: unknown, message: string, details?: object) => void;

/**
 * Warns of faults that come to many at once: the database is away, and every batch and every join fails. Of the same message and code
 * one line is written, then at most one in `everyMs`, which says how many others there were since.
 */
export function sparing(log: Pick<Logger, "warn">, everyMs = 10_000, now: () => number = Date.now): Warn {
  const said = new Map<string, { at: number; unsaid: number }>();
  return (error, message, details = {}) => {
    const { code = "" } = (typeof error === "object" && error !== null ? error : {}) as { code?: unknown };
    const kind = `${message} ${code}`;
    const before = said.get(kind);
    if (before !== undefined && now() - before.at < everyMs) {
      before.unsaid += 1;
      return;
    }
    said.set(kind, { at: now(), unsaid: 0 });
    log.warn(
      { ...details, err: error, ...(before !== undefined && before.unsaid > 0 && { others: before.unsaid }) },
      message,
    );
  };
}
