/** The word of each code, which is also the first word of every message. */
const words = {
  PE401: "unauthenticated",
  PE403: "forbidden",
  PE404: "not_found",
  PE409: "conflict",
  PE410: "resync_required",
  PE413: "too_large",
  PE422: "invalid",
} as const;

export type PerchErrorCode = keyof typeof words;

/**
 * The one error type of perch. `code` is the SQLSTATE raised by the database (or by the same rule in TypeScript), `word` its
 * name, `detail` what a program needs to react; the message starts with the word.
 */
export class PerchError extends Error {
  readonly code: PerchErrorCode;
  readonly word: string;
  readonly detail: unknown;
  /** What to do about it, for people; the database's HINT. */
  declare readonly hint?: string;

  constructor(
    code: PerchErrorCode,
    message: string,
    detail: unknown = null,
    options: { cause?: unknown; hint?: string | undefined } = {},
  ) {
    const word = words[code];
    super(message.startsWith(word) ? message : `${word}: ${message}`, options);
    this.name = "PerchError";
    this.code = code;
    this.word = word;
    this.detail = detail;
    if (options.hint !== undefined) this.hint = options.hint;
  }
}

/** Whether `code` is one of perch's own error codes. */
export function isPerchErrorCode(code: unknown): code is PerchErrorCode {
  return typeof code === "string" && Object.hasOwn(words, code);
}

/**
 * Turns what a database driver, an engine thread or perch itself threw into a PerchError.
 * In: anything caught. Out: the PerchError, or undefined when it is not one of perch's own errors (then rethrow it as it is).
 */
export function toPerchError(error: unknown): PerchError | undefined {
  if (error instanceof PerchError) return error;
  if (typeof error !== "object" || error === null) return undefined;
  const { code, message, detail, hint } = error as Record<"code" | "message" | "detail" | "hint", unknown>;
  if (!isPerchErrorCode(code)) return undefined;
  return new PerchError(code, String(message ?? code), parseDetail(detail), {
    cause: error,
    hint: typeof hint === "string" && hint !== "" ? hint : undefined,
  });
}

/** DETAIL is JSON by contract; text of another shape (an app's own RAISE with our SQLSTATE) is kept as it is. */
function parseDetail(detail: unknown): unknown {
  if (detail === undefined || detail === null || detail === "") return null;
  if (typeof detail !== "string") return detail;
  try {
    return JSON.parse(detail);
  } catch {
    return detail;
  }
}
