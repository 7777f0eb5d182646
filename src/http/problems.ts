import { z } from "zod";
import { constraintOf, isConflict, isMoving, meaningOf } from "../database/errors.js";
import { MessageTooLarge } from "../database/message-too-large.js";
import { EngineBusy, EngineLost } from "../engine/engine.js";
import { toPerchError } from "../errors.js";
import { KeysAway } from "../identity/tokens.js";
import { TurnMissed } from "../lib/lanes.js";
import { remedyOf } from "./remedies.js";

/** The body of a request that failed. */
export const problemSchema = z.object({
  error: z.object({
    code: z.string().regex(/^PE[0-9]{3}$/),
    word: z.string(),
    message: z.string(),
    detail: z.unknown(),
    /** What to do about it, for people. */
    hint: z.string().optional(),
  }),
});

/** What a request that failed is answered with. */
export interface Problem {
  readonly status: number;
  readonly code: string;
  readonly word: string;
  readonly message: string;
  readonly detail: unknown;
  readonly hint: string;
}

export function problem(
  status: number,
  word: string,
  message: string,
  detail: unknown = null,
  hint: string = remedyOf({ status, detail }),
): Problem {
  return { status, code: `PE${status}`, word, message: `${word}: ${message}`, detail, hint };
}

/** Thrown where HTTP itself refuses a request. */
export class RequestRefused extends Error {
  constructor(readonly problem: Problem) {
    super(problem.message);
    this.name = "RequestRefused";
  }
}

export function problemBody({ code, word, message, detail, hint }: Problem): string {
  return JSON.stringify({ error: { code, word, message, detail, hint } });
}

/** The answer to a request that threw. What is not perch's own error is not shown: it may hold data of others. */
export function problemOf(error: unknown): Problem {
  if (error instanceof RequestRefused) return error.problem;
  const own = toPerchError(error);
  if (own !== undefined) {
    const { code, word, message, detail } = own;
    const status = Number(code.slice(2));
    return { status, code, word, message, detail, hint: own.hint ?? remedyOf({ status, detail }) };
  }
  if (error instanceof MessageTooLarge) {
    return problem(
      413,
      "too_large",
      "the answer is larger than this server passes on: ask for less",
      { limit: "max_message_bytes" },
      "Ask for fewer at a time (page_size), or for some fields only (fields).",
    );
  }
  if (error instanceof TurnMissed)
    return problem(
      503,
      "unavailable",
      "your other requests, or those of many others, kept this one waiting for too long; try again",
    );
  if (error instanceof EngineLost || error instanceof EngineBusy)
    return problem(503, "unavailable", "the document cannot be decoded just now; try again");
  if (error instanceof KeysAway)
    return problem(503, "unavailable", "the keys that tokens are verified with cannot be fetched; try again");
  // Where to is for those who operate it: the error of the database has it, the log and /readyz.
  if (isMoving(error))
    return problem(503, "unavailable", "the database is being moved to another server; try again in a moment");
  const meaning = meaningOf(error);
  if (meaning === "input")
    return problem(
      422,
      "invalid",
      "the database cannot store what was sent: look for NUL, half of a character, and numbers that are too large",
    );
  if (meaning === "rule") {
    const [status, word] = isConflict(error) ? ([409, "conflict"] as const) : ([422, "invalid"] as const);
    return problem(
      status,
      word,
      "a constraint or trigger of this database refuses it; the server's log has its message",
      { constraint: constraintOf(error) ?? null },
      "Mend what that rule wants, or leave it out: the same is refused again.",
    );
  }
  if (meaning === "contended") return problem(503, "unavailable", "others are at work here; try again");
  if (meaning === "full") return problem(503, "unavailable", "the database takes nothing now; try again");
  if (meaning === "away") return problem(503, "unavailable", "the database cannot be reached; try again");
  return problem(
    500,
    "internal",
    "something went wrong in the server; its log has the details, under this answer's X-Request-Id",
  );
}

export function tooMuchHeld(): RequestRefused {
  return new RequestRefused(
    problem(429, "too_many_requests", "too much is held for you: read the answers that are on their way first"),
  );
}
