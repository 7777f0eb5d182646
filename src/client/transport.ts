import { errorOf, PerchError, unreachable } from "./errors.js";
import type { Json } from "./exact-json.js";
import { deadline, pauseMs, sleep, unlessAborted, within } from "./waiting.js";

/**
 * A token, or what gives one. `refused`: the server does not take the one before any more; get a new one. What it throws counts as no network, and it is
 * asked again, as it is when it gives none in the time that an attempt may take; a PerchError (`PE401`: nobody is signed in) is the request's own error.
 */
export type TokenSource = string | ((request: { refused: boolean }) => string | Promise<string>);

export interface TransportOptions {
  readonly url: string;
  readonly token: TokenSource | undefined;
  readonly fetch: typeof fetch;
  readonly json: Json;
  readonly timeoutMs: number;
  readonly patienceMs: number;
}

export interface Request {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** With its query, from the root of the server. */
  readonly path: string;
  readonly body?: unknown;
  /** The body, as text. */
  readonly text?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  /** Instead of that of all requests. */
  readonly patienceMs?: number | undefined;
  /** Whether an answer is perch's. Of a network that wants a sign-in of its own any page may come as one that succeeded. */
  readonly isAnswer?: ((answer: unknown) => boolean) | undefined;
}

/** An answer of an object in which something is a list. */
export const hasList =
  (name: string) =>
  (answer: unknown): boolean =>
    typeof answer === "object" && answer !== null && Array.isArray((answer as Record<string, unknown>)[name]);

export interface Transport {
  readonly json: Json;
  /**
   * Asks until there is an answer: what passes (no network, a server that stops or is busy, a refused token) is tried again with back-off, not sooner
   * than the server says, for `patienceMs`. Out: the body. Errors: PerchError; the signal's reason.
   */
  ask(request: Request): Promise<unknown>;
  /** Asks once, a refused token aside, for what has no body. Out: a response that succeeded, which is still to be read. Errors: PerchError. */
  open(request: Request): Promise<Response>;
}

const firstPauseMs = 200;
const longestPauseMs = 10_000;

/** Requests with a token, and errors of one kind. */
export function createTransport(options: TransportOptions): Transport {
  const { json, timeoutMs } = options;
  const tokens = createTokens(options.token, timeoutMs);

  async function attempt(
    { method, path, text, headers, signal }: Request,
    token: string | undefined,
  ): Promise<Response> {
    const asked = options.fetch(options.url + path, {
      method,
      headers: {
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
        ...(text !== undefined && { "content-type": "application/json" }),
        ...headers,
      },
      ...(text !== undefined && { body: text }),
      ...(signal && { signal }),
    });
    // Also where a fetch of the app's own does not heed the signal.
    const response = await unlessAborted(asked, signal).catch((error: unknown) => {
      throw unreachable(error);
    });
    if (response.ok) return response;
    throw errorOf(response.status, await textOf(response), response.headers.get("retry-after"));
  }

  async function open(request: Request): Promise<Response> {
    const inTime = (token: Promise<string | undefined>) =>
      unlessAborted(token, request.signal).catch((error: unknown) => {
        throw error instanceof PerchError ? error : unreachable(error);
      });
    const token = await inTime(tokens.current());
    try {
      return await attempt(request, token);
    } catch (error) {
      if (!(error instanceof PerchError) || error.code !== "PE401" || !tokens.canRefresh) throw error;
      return attempt(request, await inTime(tokens.instead(token)));
    }
  }

  async function once(request: Request): Promise<unknown> {
    const limit = deadline(timeoutMs, request.signal);
    try {
      const response = await open({ ...request, signal: limit.signal });
      const text = await unlessAborted(textOf(response), limit.signal).catch((error: unknown) => {
        throw unreachable(error);
      });
      let answer: unknown;
      try {
        answer = json.parse(text);
      } catch (error) {
        throw unreachable(error);
      }
      if (request.isAnswer?.(answer) === false) throw unreachable("something else than perch answered");
      return answer;
    } finally {
      limit.end();
    }
  }

  return {
    json,
    open,
    async ask({ body, ...given }) {
      const request = body === undefined ? given : { ...given, text: json.stringify(body) };
      const { signal, patienceMs = options.patienceMs } = request;
      const end = performance.now() + patienceMs;
      for (let tries = 0; ; tries++) {
        signal?.throwIfAborted();
        try {
          return await once(request);
        } catch (error) {
          signal?.throwIfAborted();
          if (!(error instanceof PerchError) || !error.isPassing) throw error;
          const wait = Math.max(pauseMs(tries, firstPauseMs, longestPauseMs), (error.retryAfter ?? 0) * 1_000);
          if (performance.now() + wait > end) throw error;
          await sleep(wait, signal);
        }
      }
    },
  };
}

/** The body of an answer. One that breaks off is as none. */
async function textOf(response: Response): Promise<string> {
  try {
    return await response.text();
  } catch (error) {
    throw unreachable(error);
  }
}

/** Remembers a token until it is refused; of many requests that are refused at once, one asks for the next. */
function createTokens(source: TokenSource | undefined, timeoutMs: number) {
  let known: Promise<string> | undefined;
  const get = (refused: boolean): Promise<string> | undefined => {
    if (typeof source !== "function") return source === undefined ? undefined : Promise.resolve(source);
    const asked = within(timeoutMs, async () => source({ refused })).catch((error: unknown) => {
      throw error instanceof PerchError ? error : unreachable(error);
    });
    known = asked;
    // One that could not be had is asked for again by the next request.
    asked.catch(() => {
      if (known === asked) known = undefined;
    });
    return asked;
  };
  return {
    canRefresh: typeof source === "function",
    current: async () => known ?? get(false),
    /** In: the token that was refused. Out: another one. */
    async instead(refused: string | undefined): Promise<string | undefined> {
      // Whoever is told that it was refused after another has asked for the next waits for the same.
      let asked: typeof known;
      let now: string | undefined;
      do {
        asked = known;
        now = await asked;
      } while (asked !== known);
      return now !== undefined && now !== refused ? now : get(true);
    },
  };
}
