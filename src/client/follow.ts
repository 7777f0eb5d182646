import { cursorOf, eventIdOf } from "./cursor.js";
import { PerchError, unreachable } from "./errors.js";
import { readEvents } from "./event-stream.js";
import { hasList, type Transport } from "./transport.js";
import type { Cursor, Fields, FollowEvent, LostSpace, PullAnswer, SnapshotAnswer, WantedFields } from "./types.js";
import { deadline, pauseMs, sleep } from "./waiting.js";

export interface FollowOptions {
  appId: string;
  /** Where to go on: the one that was kept; from the beginning, when not given. */
  cursor?: Cursor | undefined;
  /** Only these tables. A cursor belongs to the tables it was made with. */
  tables?: readonly string[] | undefined;
  /** Without what this user pushed as this client, once the end of the log has been reached. */
  excludeClientId?: string | undefined;
  /** Changes in one event, at most. */
  pageSize?: number | undefined;
  schemaVersions?: Readonly<Record<string, number>> | undefined;
  /** Of these tables no other fields. A cursor is that of all: to have more from then on, begin without one. */
  fields?: WantedFields | undefined;
  /** Ends the iteration, without an error. */
  signal?: AbortSignal | undefined;
  /** Told of what passes, while it goes on by itself: to show that the device is offline, say. */
  onError?: ((error: PerchError) => void) | undefined;
  /** The connection stands: to show that the device is online. */
  onOpen?: (() => void) | undefined;
}

/**
 * An iterator to use once, with `for await`; leaving the loop, `return()` and the signal end it at once. Take an event in before asking for the next: a
 * slow reader is waited for.
 */
export type Following<Content = Fields> = AsyncIterableIterator<FollowEvent<Content>, undefined, undefined>;

const firstPauseMs = 250;
const longestPauseMs = 30_000;
/** What a server, or a page in its place, says of when to come again is heeded up to this. */
export const longestAskedMs = 300_000;

/** In: how long a stream may be silent before it is taken for dead; servers send something every 15 s. */
export function follow<Content>(transport: Transport, options: FollowOptions, idleMs: number): Following<Content> {
  const stop = new AbortController();
  const abort = () => stop.abort();
  if (options.signal?.aborted) abort();
  options.signal?.addEventListener("abort", abort);
  const events = run<Content>(transport, options, idleMs, stop.signal);
  const end = () => {
    stop.abort();
    options.signal?.removeEventListener("abort", abort);
  };
  return {
    async next() {
      try {
        const result = await events.next();
        if (result.done) end();
        return result;
      } catch (error) {
        end();
        throw error;
      }
    },
    // A generator only hears of return() when it is not waiting for something itself.
    return() {
      end();
      return events.return(undefined);
    },
    throw(error) {
      end();
      return events.throw(error);
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

type Ended = { readonly lost: LostSpace[] } | { readonly refused: PerchError } | { readonly retryMs: number };

/**
 * The states: streaming, from `cursor`; resyncing, after PE410, space by space, each of which moves the cursor; pausing. Every way out of streaming
 * but the signal leads through one of the others back to it, with the cursor of the last event that was taken: so nothing is left out, and what
 * was yielded and not kept comes again.
 */
async function* run<Content>(
  transport: Transport,
  options: FollowOptions,
  idleMs: number,
  signal: AbortSignal,
): AsyncGenerator<FollowEvent<Content>, undefined, undefined> {
  const at = { cursor: options.cursor ?? {} };
  let refusals = 0;
  let refusedAt = Number.NEGATIVE_INFINITY;
  for (let failures = 0; !signal.aborted; ) {
    try {
      const ended: Ended = yield* stream<Content>(transport, options, at, idleMs, signal, () => {
        failures = 0;
      });
      if ("retryMs" in ended) {
        await sleep(Math.min(ended.retryMs, longestAskedMs) * (0.5 + Math.random() / 2), signal);
        continue;
      }
      // At once; with a pause where the stream has said something like it a moment ago.
      refusals = performance.now() - refusedAt < longestPauseMs ? refusals + 1 : 0;
      if (refusals > 0) await sleep(pauseMs(refusals, firstPauseMs, longestPauseMs / 2), signal);
      refusedAt = performance.now();
      if ("refused" in ended) {
        if (refusals > 0) options.onError?.(ended.refused);
        continue;
      }
      yield { type: "resync", spaces: ended.lost };
      for (const { space_id } of ended.lost) yield* resync<Content>(transport, options, at, space_id, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof PerchError) || !error.isPassing) throw error;
      options.onError?.(error);
      const asked = Math.min((error.retryAfter ?? 0) * 1_000, longestAskedMs);
      const pause = Math.max(pauseMs(failures, firstPauseMs, longestPauseMs), asked);
      failures += 1;
      await sleep(pause, signal);
    }
  }
}

/** Yields what one connection brings, and moves `at.cursor` along. Out: why it ended, when that was no fault. */
async function* stream<Content>(
  transport: Transport,
  options: FollowOptions,
  at: { cursor: Cursor },
  idleMs: number,
  signal: AbortSignal,
  onNews: () => void,
): AsyncGenerator<FollowEvent<Content>, Ended, undefined> {
  const { appId, tables, excludeClientId, pageSize, schemaVersions, fields } = options;
  const query = new URLSearchParams({ app_id: appId });
  for (const table of tables ?? []) query.append("tables", table);
  if (excludeClientId !== undefined) query.set("exclude_client_id", excludeClientId);
  if (pageSize !== undefined) query.set("page_size", String(pageSize));
  if (schemaVersions !== undefined) query.set("schema_versions", JSON.stringify(schemaVersions));
  if (fields !== undefined) query.set("fields", JSON.stringify(fields));
  const idle = deadline(idleMs, signal);
  let retryMs = 1_000;
  try {
    const headers = { "last-event-id": await eventIdOf(at.cursor) };
    const response = await transport.open({
      method: "GET",
      path: `/v1/changes?${query}`,
      headers,
      signal: idle.signal,
    });
    const type = response.headers.get("content-type");
    if (response.body === null || !type?.startsWith("text/event-stream")) {
      await response.body?.cancel();
      throw unreachable(`a stream was asked for, and ${type} came`);
    }
    options.onOpen?.();
    const on = {
      touch: idle.touch,
      retry(ms: number) {
        retryMs = ms;
      },
    };
    for await (const { event, data, id } of readEvents(response.body, on)) {
      onNews();
      if (event === "problem") {
        const problem = problemIn(data ?? "");
        const lost = lostSpaces(problem);
        if (lost !== undefined) return { lost };
        // The next connection asks for another token.
        if (problem.code === "PE401") return { refused: problem };
        throw problem;
      }
      if (data === undefined) {
        // Nothing for us happened, and the log has moved on: the cursor must not grow old.
        if (id === undefined) continue;
        at.cursor = await cursorOf(id);
        yield { type: "changes", changes: [], revokedSpaceIds: [], cursor: at.cursor, hasMore: false };
        continue;
      }
      const answer = transport.json.parse(data);
      if (!hasList("changes")(answer)) throw unreachable("something else than perch answered");
      const { changes, cursor, has_more, revoked_space_ids } = answer as PullAnswer<Content>;
      // While the reader is at work the stream may well be silent.
      idle.pause();
      yield { type: "changes", changes, revokedSpaceIds: revoked_space_ids, cursor, hasMore: has_more };
      idle.touch();
      at.cursor = cursor;
    }
    return { retryMs };
  } catch (error) {
    throw error instanceof PerchError || signal.aborted ? error : unreachable(error);
  } finally {
    idle.end();
  }
}

function problemIn(data: string): PerchError {
  const { error } = JSON.parse(data) as {
    error: { code: string; word: string; message: string; detail: unknown; hint?: string };
  };
  return new PerchError(error);
}

function lostSpaces({ code, detail }: PerchError): LostSpace[] | undefined {
  const { spaces } = (detail ?? {}) as { spaces?: LostSpace[] };
  return code === "PE410" && Array.isArray(spaces) && spaces.length > 0 ? spaces : undefined;
}

/** Yields the snapshot of a space, and moves the cursor behind it. */
async function* resync<Content>(
  transport: Transport,
  { appId, tables, pageSize, schemaVersions, fields }: FollowOptions,
  at: { cursor: Cursor },
  spaceId: string,
  signal: AbortSignal,
): AsyncGenerator<FollowEvent<Content>, void, undefined> {
  let after: string | null = null;
  do {
    const body: unknown = {
      app_id: appId,
      space_id: spaceId,
      after,
      cursor: at.cursor,
      ...(tables && { tables }),
      ...(pageSize !== undefined && { page_size: pageSize }),
      ...(schemaVersions && { schema_versions: schemaVersions }),
      ...(fields && { fields }),
    };
    let page: SnapshotAnswer<Content>;
    try {
      page = (await transport.ask({
        method: "POST",
        path: "/v1/snapshot",
        body,
        signal,
        isAnswer: hasList("records"),
      })) as SnapshotAnswer<Content>;
    } catch (error) {
      // Restored between two pages, or the user was put out of the space: the stream tells which.
      if (error instanceof PerchError && (error.code === "PE410" || error.code === "PE403")) return;
      throw error;
    }
    const last = page.next === null;
    yield { type: "snapshot", spaceId, records: page.records, last, cursor: last ? page.cursor : null };
    if (last) at.cursor = page.cursor;
    after = page.next;
  } while (after !== null);
}
