/** The word of each code, where the answer itself does not say it (a proxy's, or none at all). */
const words: Readonly<Record<string, string>> = {
  PE401: "unauthenticated",
  PE403: "forbidden",
  PE404: "not_found",
  PE409: "conflict",
  PE410: "resync_required",
  PE413: "too_large",
  PE422: "invalid",
  PE429: "too_many_requests",
  PE503: "unavailable",
};

/** Codes of what may succeed when the same is asked again. */
const passing: ReadonlySet<string> = new Set(["PE408", "PE429", "PE500", "PE502", "PE503", "PE504"]);

interface PerchErrorParts {
  readonly code: string;
  readonly word?: string | undefined;
  readonly message: string;
  readonly detail?: unknown;
  readonly hint?: string | undefined;
  readonly retryAfter?: number | null;
  readonly cause?: unknown;
}

/**
 * What a request failed with. `code` and `word` say it to programs (docs/http.md has the list), `detail` what they need to react, the
 * message says it to people, and `hint`, where there is one, what to do. `retryAfter`: the seconds to wait before the same again, where the server named some.
 */
export class PerchError extends Error {
  readonly code: string;
  readonly word: string;
  readonly detail: unknown;
  declare readonly hint?: string;
  readonly retryAfter: number | null;

  constructor({
    code,
    word = words[code] ?? "internal",
    message,
    detail = null,
    hint,
    retryAfter = null,
    cause,
  }: PerchErrorParts) {
    super(message.startsWith(word) ? message : `${word}: ${message}`, cause === undefined ? {} : { cause });
    this.name = "PerchError";
    this.code = code;
    this.word = word;
    this.detail = detail;
    if (hint !== undefined) this.hint = hint;
    this.retryAfter = retryAfter;
  }

  /** Whether the same may succeed later: the server is away, busy or stopping. */
  get isPassing(): boolean {
    return passing.has(this.code);
  }
}

/** The error in an answer's body, or one by its status where the body is not perch's. */
export function errorOf(status: number, body: string, retryAfter: string | null): PerchError {
  const seconds = retryAfter === null || !/^\d+$/.test(retryAfter) ? null : Number(retryAfter);
  const { error } = (parsed(body) ?? {}) as {
    error?: { code?: unknown; word?: unknown; message?: unknown; detail?: unknown; hint?: unknown };
  };
  if (typeof error?.code === "string" && typeof error.message === "string") {
    const word = typeof error.word === "string" ? error.word : undefined;
    return new PerchError({
      code: error.code,
      word,
      message: error.message,
      detail: error.detail,
      ...(typeof error.hint === "string" && { hint: error.hint }),
      retryAfter: seconds,
    });
  }
  const message = `the server, or a proxy before it, answered with status ${status}`;
  return new PerchError({ code: `PE${status}`, message, detail: { status }, retryAfter: seconds });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // A proxy's page: its status says it.
    return undefined;
  }
}

/** What a request that got no answer failed with. */
export function unreachable(cause: unknown): PerchError {
  return new PerchError({ code: "PE503", message: "the server cannot be reached", cause });
}
