import { z } from "zod";
import { MessageTooLarge } from "../database/message-limit.js";
import { toPerchError } from "../errors.js";
import { Crowded, TurnMissed } from "../lib/lanes.js";

/** The body of a request that failed. */
export const problemSchema = z.object({
  error: z.object({
    code: z.string().regex(/^PE[0-9]{3}$/),
    word: z.string(),
    message: z.string(),
    detail: z.unknown(),
  }),
});

/** What a request that failed is answered with. */
export interface Problem {
  readonly status: number;
  readonly code: string;
  readonly word: string;
  readonly message: string;
  readonly detail: unknown;
}

export function problem(status: number, word: string, message: string, detail: unknown = null): Problem {
  return { status, code: `PE${status}`, word, message: `${word}: ${message}`, detail };
}

/** Thrown where HTTP itself refuses a request. */
export class RequestRefused extends Error {
  constructor(readonly problem: Problem) {
    super(problem.message);
    this.name = "RequestRefused";
  }
}

export function problemBody({ code, word, message, detail }: Problem): string {
  return JSON.stringify({ error: { code, word, message, detail } });
}

/**
 * Connection trouble, a server that starts or stops or is full, a transaction that others are in the way of, a lock that they hold, a
 * statement that took too long: the same again may succeed in a moment.
 */
const passingStates = /^(08|53|57|40|55P03)/;

/** Text that is no number where one is wanted, a NUL in a string, nesting beyond the parser's stack. */
const badInputStates = /^(22|54)/;

/** The answer to a request that threw. What is not perch's own error is not shown: it may hold data of others. */
export function problemOf(error: unknown): Problem {
  if (error instanceof RequestRefused) return error.problem;
  const own = toPerchError(error);
  if (own !== undefined) {
    const { code, word, message, detail } = own;
    return { status: Number(code.slice(2)), code, word, message, detail };
  }
  if (error instanceof Crowded) return problem(429, "too_many_requests", "too much waits for this user already");
  if (error instanceof MessageTooLarge) {
    return problem(413, "too_large", "the answer is larger than this server passes on: ask for less", {
      limit: "max_message_bytes",
    });
  }
  if (error instanceof TurnMissed) return problem(503, "unavailable", "its turn did not come in time; try again");
  const { code } = (typeof error === "object" && error !== null ? error : {}) as { code?: unknown };
  const state = typeof code === "string" ? code : "";
  if (badInputStates.test(state)) return problem(422, "invalid", "the database cannot take what was sent");
  // EPIPE has five letters as well.
  if (passingStates.test(state) || !/^[0-9A-Z]{5}$/.test(state) || state === "EPIPE") {
    return problem(503, "unavailable", "the database cannot be reached; try again");
  }
  return problem(500, "internal", "something went wrong; the log has the details");
}
