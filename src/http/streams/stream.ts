import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { isPassing } from "../../database/errors.js";
import { PerchError } from "../../errors.js";
import type { TokenIdentity } from "../../identity/tokens.js";
import type { Account } from "../../lib/ledger.js";
import { positionsOf, throughFaults } from "../../log/follow.js";
import { createPullTrigger, type Positions } from "../../log/pull-trigger.js";
import { whenGone } from "../gone.js";
import { problemBody, problemOf } from "../problems.js";
import { eventIdOf } from "./event-id.js";
import type { Feed, StreamReader } from "./feed.js";
import type { Page } from "./page.js";

/** Why a stream ended, for the metrics. */
export type StreamEnd = "gone" | "expired" | "resync" | "refused" | "slow" | "draining" | "failed";

export interface StreamServices {
  readonly feed: Feed;
  /** Between two pulls there is at least this much time: what a busy log costs is bounded by its readers, not its writers. */
  readonly intervalMs: number;
  readonly heartbeatMs: number;
  readonly slowReaderMs: number;
  readonly account: Account;
  /** What its answer says besides. */
  readonly headers: OutgoingHttpHeaders;
  /** Reads what follows a cursor, when it is its turn. */
  read(cursor: string): Promise<Page>;
  /** It failed, and is tried again. */
  onFault(error: unknown): void;
  /** It failed for good, and nobody can be blamed. */
  onFailure(error: unknown): void;
}

export interface Stream {
  readonly identity: TokenIdentity;
  /** Resolves when it has ended. */
  readonly ended: Promise<StreamEnd>;
  /** To be called often: heartbeats, expired tokens, readers that are too slow. */
  tick(now: number): void;
  /** Ends it, and has the client come back. */
  drain(): void;
}

/** A client waits this long before it comes back by itself. */
const retryMs = 1_000;
/** The same after an error that comes again when the same is asked again. */
const refusedRetryMs = 15_000;
/** Clients of a node that stops come back spread over this time. */
const drainSpreadMs = 1_000;
/** Nobody polls by the clock: the feed does so for all. A timer takes no longer time than this. */
const never = 2 ** 31 - 1;

const headers = {
  "content-type": "text/event-stream; charset=utf-8",
  // Proxies that collect a response before they pass it on: not this one.
  "x-accel-buffering": "no",
  // When it ends so does its connection, also while the server stops.
  connection: "close",
};

/**
 * Answers a request with the changes after a cursor, as Server-Sent Events, for as long as the client reads them. Out: the stream.
 * Errors: those of the first page that are the client's (PE401, PE403, PE413, PE422): nothing has been sent then. Later
 * ones, and PE410 always, are sent as an event `problem`, after which the stream ends; faults that pass only delay it.
 *
 * One page is read when the one before it has left for the client: of a slow reader a page waits here, and never more. When that does
 * not leave within `slowReaderMs` the reader is cut off; it comes back with the id of the last event it got.
 */
export async function openStream(
  response: ServerResponse,
  identity: TokenIdentity,
  from: string,
  services: StreamServices,
): Promise<Stream> {
  const { feed, account } = services;
  const trigger = createPullTrigger();
  const stop = new AbortController();
  const { signal } = stop;
  let cursor = from;
  let positions: Positions | undefined;
  let sentCursor = from;
  let wroteAt = Date.now();
  let blockedSince: number | undefined;
  /** What has been written since the client stopped reading. */
  let unread = 0;
  let end: StreamEnd | undefined;

  const reader: StreamReader = {
    identity,
    positions: () => positions,
    heard: (spaceId, seq) => void trigger.heard(spaceId, seq),
    wake: trigger.wake,
  };

  function finish(reason: StreamEnd): void {
    if (end !== undefined) return;
    end = reason;
    feed.remove(reader);
    trigger.close();
    stop.abort();
  }

  function write(text: string): void {
    if (end !== undefined) return;
    wroteAt = Date.now();
    if (response.write(text)) return;
    blockedSince ??= wroteAt;
    account.add(text.length);
    unread += text.length;
  }

  /** Says a last word, and ends. A client that does not read would keep the connection open with it. */
  function conclude(reason: StreamEnd, text: string): void {
    const reads = blockedSince === undefined;
    if (reads) write(text);
    finish(reason);
    if (reads) response.end();
    else response.destroy();
  }

  function fail(reason: StreamEnd, error: unknown): void {
    const retry = reason === "expired" ? retryMs : refusedRetryMs;
    conclude(reason, `retry: ${retry}\nevent: problem\ndata: ${problemBody(problemOf(error))}\n\n`);
  }

  /** What the client gets an id for without an event: it goes on from there, and nothing is told of it. */
  const keepAlive = () => {
    write(cursor === sentCursor ? ":\n\n" : `id: ${eventIdOf(cursor)}\n\n`);
    sentCursor = cursor;
  };

  async function changed(readAt: number): Promise<void> {
    // First the pause: what is notified in it then leads to one pull.
    const early = readAt + services.intervalMs - Date.now();
    if (early > 0) await sleep(early, undefined, { signal }).catch(() => undefined);
    await trigger.wait(never, signal);
  }

  async function take(page: Page, first: boolean, since: number): Promise<void> {
    cursor = page.cursor;
    if (page.body !== null || first) {
      const data = page.body ?? `{"changes":[],"cursor":${cursor},"has_more":${page.hasMore},"revoked_space_ids":[]}`;
      write(`id: ${eventIdOf(cursor)}\nevent: changes\ndata: ${data}\n\n`);
      sentCursor = cursor;
    }
    if (!page.hasMore) {
      positions = positionsOf(JSON.parse(cursor));
      trigger.reached(positions);
      feed.reached(reader, since);
    }
    await drained();
  }

  async function drained(): Promise<void> {
    if (blockedSince === undefined || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        response.off("drain", done);
        signal.removeEventListener("abort", done);
        resolve();
      };
      response.once("drain", done);
      signal.addEventListener("abort", done);
    });
    blockedSince = undefined;
    account.add(-unread);
    unread = 0;
  }

  async function run(firstPage: Page | undefined, firstSince: number): Promise<void> {
    let page = firstPage;
    let since = firstSince;
    let readAt = Date.now();
    for (let first = true; end === undefined; first = false) {
      if (page === undefined) {
        since = feed.notifications();
        readAt = Date.now();
        page = await throughFaults(() => services.read(cursor), signal, services.onFault);
      }
      if (page === undefined || end !== undefined) return;
      await take(page, first, since);
      if (!page.hasMore) await changed(readAt);
      page = undefined;
    }
  }

  function failed(error: unknown): void {
    if (end !== undefined) return;
    const own = error instanceof PerchError;
    if (!own) services.onFailure(error);
    if (!own) fail("failed", error);
    else fail(error.code === "PE410" ? "resync" : "refused", error);
  }

  feed.add(reader);
  const ended = new Promise<StreamEnd>((resolve) => signal.addEventListener("abort", () => resolve(end ?? "gone")));
  whenGone(response, () => finish("gone"));
  // A pull trigger begins as if something were new, and the first page is read without being told of anything.
  await trigger.wait(never, signal);
  const since = feed.notifications();
  let firstPage: Page | undefined;
  let resync: unknown;
  try {
    firstPage = await services.read(cursor);
  } catch (error) {
    if (error instanceof PerchError && error.code === "PE410") resync = error;
    else if (isPassing(error)) services.onFault(error);
    else {
      finish("refused");
      throw error;
    }
  }
  if (end === undefined) {
    response.writeHead(200, { ...services.headers, ...headers });
    write(`retry: ${retryMs}\n\n`);
    if (resync !== undefined) fail("resync", resync);
    else run(firstPage, since).catch(failed);
  }

  return {
    identity,
    ended,
    tick(now) {
      if (end !== undefined) return;
      if (now >= identity.expiresAt) fail("expired", new PerchError("PE401", "the token has expired"));
      else if (blockedSince !== undefined) {
        if (now - blockedSince <= services.slowReaderMs) return;
        finish("slow");
        response.destroy();
      } else if (now - wroteAt >= services.heartbeatMs) keepAlive();
    },
    drain() {
      if (end === undefined) conclude("draining", `retry: ${retryMs + Math.floor(Math.random() * drainSpreadMs)}\n\n`);
    },
  };
}
