import { meaningOf } from "./errors.js";

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
