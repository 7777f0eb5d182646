import { errorOf, PerchError, unreachable } from "./errors.js";
import type { Json } from "./exact-json.js";
import { deadline, pauseMs, sleep } from "./waiting.js";

/**
 * A token, or what gives one. `refused`: the server does not take the one before any more; get a new one. What it throws counts as no network, and it is
 * asked again; a PerchError (`PE401`: nobody is signed in) is the request's own error.
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
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  /** Instead of that of all requests. */
  readonly patienceMs?: number | undefined;
}

export interface Transport {
  readonly json: Json;
  /**
   * Asks until there is an answer: what passes (no network, a server that stops or is busy, a refused token) is tried again with back-off, not sooner
   * than the server says, for `patienceMs`. Out: the body. Errors: PerchError; the signal's reason.
   */
  ask(request: Request): Promise<unknown>;
  /** Asks once, a refused token aside. Out: a response that succeeded, whose body is still to be read. Errors: PerchError. */
  open(request: Request): Promise<Response>;
}

const firstPauseMs = 200;
const longestPauseMs = 10_000;

/** Requests with a token, and errors of one kind. */
export function createTransport(options: TransportOptions): Transport {
  const { json, timeoutMs } = options;
  const tokens = createTokens(options.token);

  async function attempt(
    { method, path, body, headers, signal }: Request,
    token: string | undefined,
  ): Promise<Response> {
    const response = await options
      .fetch(options.url + path, {
        method,
        headers: {
          ...(token !== undefined && { authorization: `Bearer ${token}` }),
          ...(body !== undefined && { "content-type": "application/json" }),
          ...headers,
        },
        ...(body !== undefined && { body: json.stringify(body) }),
        ...(signal && { signal }),
      })
      .catch((error: unknown) => {
        throw unreachable(error);
      });
    if (response.ok) return response;
    throw errorOf(response.status, await textOf(response), response.headers.get("retry-after"));
  }

  async function open(request: Request): Promise<Response> {
    const token = await tokens.current();
    try {
      return await attempt(request, token);
    } catch (error) {
      if (!(error instanceof PerchError) || error.code !== "PE401" || !tokens.canRefresh) throw error;
      return attempt(request, await tokens.instead(token));
    }
  }

  async function once(request: Request): Promise<unknown> {
    const limit = deadline(timeoutMs, request.signal);
    try {
      const text = await textOf(await open({ ...request, signal: limit.signal }));
      try {
        return json.parse(text);
      } catch (error) {
        // The page of a network that wants a sign-in of its own, say: perch was not asked.
        throw unreachable(error);
      }
    } finally {
      limit.end();
    }
  }

  return {
    json,
    open,
    async ask(request) {
      const { signal, patienceMs = options.patienceMs } = request;
      const end = Date.now() + patienceMs;
      for (let tries = 0; ; tries++) {
        signal?.throwIfAborted();
        try {
          return await once(request);
        } catch (error) {
          signal?.throwIfAborted();
          if (!(error instanceof PerchError) || !error.isPassing) throw error;
          const wait = Math.max(pauseMs(tries, firstPauseMs, longestPauseMs), (error.retryAfter ?? 0) * 1_000);
          if (Date.now() + wait > end) throw error;
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
function createTokens(source: TokenSource | undefined) {
  let known: Promise<string> | undefined;
  const get = (refused: boolean): Promise<string> | undefined => {
    if (typeof source !== "function") return source === undefined ? undefined : Promise.resolve(source);
    const asked = (async () => source({ refused }))().catch((error: unknown) => {
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
