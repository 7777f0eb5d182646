/** The word of each code, where the answer itself does not say it. */
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
const passing = /^PE(408|425|429|5\d\d)$/;
/** Codes of perch: others' bodies may look like its own. */
const own = /^PE\d{3}$/;
/** What a proxy says of a request in the server's place: whose it is, how long, how many. Anything else it says only of itself. */
const sayable: ReadonlySet<number> = new Set([401, 413, 429]);

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
    return passing.test(this.code);
  }
}

/**
 * The error in an answer's body. A body that is not perch's (a page of a proxy, a firewall, a deploy) is no refusal, whatever its status: the
 * request did not reach perch, and passes.
 */
export function errorOf(status: number, body: string, retryAfter: string | null): PerchError {
  const seconds = retryAfter === null || !/^\d+$/.test(retryAfter) ? null : Number(retryAfter);
  const { error } = (parsed(body) ?? {}) as {
    error?: { code?: unknown; word?: unknown; message?: unknown; detail?: unknown; hint?: unknown };
  };
  if (typeof error?.code === "string" && own.test(error.code) && typeof error.message === "string") {
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
  const code = sayable.has(status) ? `PE${status}` : "PE503";
  const message = `a proxy, or what is at this address instead of perch, answered with status ${status}`;
  return new PerchError({ code, message, detail: { status }, retryAfter: seconds });
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
