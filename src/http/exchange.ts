import type { IncomingMessage, ServerResponse } from "node:http";
import { type Account, type Ledger, openAccount, type Reservation } from "../lib/ledger.js";
import { hasGone, whenGone } from "./gone.js";
import { tooMuchHeld } from "./problems.js";

/**
 * A request until its answer has gone. Thousands wait for something to happen, and of one that waits this is all that is kept: a plain object. What
 * works on it makes what it needs (the URL, signals, listeners), and leaves none of it here.
 */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly requestId: string;
  /** What is held for whoever asks, until the answer has gone. */
  readonly account: Account;
  /** As of `performance.now()`. */
  readonly startedAt: number;
  /** Whether it may ask for anything here at all. */
  isAdmitted: boolean;
  /** What it asks for, for metrics. */
  path: string;
  /** Whose token it was, when it was one. */
  userId: string | undefined;
  /** Among those of its user that are under way. */
  isCounted: boolean;
  /** Room in the share of whoever asks, for an answer that may be long. */
  room: Reservation | undefined;
  /** For how long it waited for something to happen, which says nothing of how fast it is answered. */
  waitedMs: number;
  restsSince: number | undefined;
  /** Aborted when nobody waits for the answer any more; undefined while nobody asks. */
  gone: AbortController | undefined;
  /** Of whoever has to know when nobody waits for the answer any more. */
  onGone: (() => void) | undefined;
  /** Its answer is on its way, or has gone. */
  isOver: boolean;
}

/** What a request comes to that is answered later: it has been left where something wakes it. */
export const waits = Symbol("waits");

export function openExchange(
  request: IncomingMessage,
  response: ServerResponse,
  requestId: string,
  ledger: Ledger,
): Exchange {
  const exchange: Exchange = {
    request,
    response,
    requestId,
    account: openAccount(ledger),
    startedAt: performance.now(),
    isAdmitted: false,
    path: "other",
    userId: undefined,
    isCounted: false,
    room: undefined,
    waitedMs: 0,
    restsSince: undefined,
    gone: undefined,
    onGone: undefined,
    isOver: false,
  };
  whenGone(response, () => left(exchange));
  return exchange;
}

function left(exchange: Exchange): void {
  exchange.gone?.abort();
  exchange.onGone?.();
  if (exchange.isOver) exchange.account.close();
}

/** Aborted when nobody waits for the answer any more, or the server stops. */
export function goneSignal(exchange: Exchange): AbortSignal {
  if (exchange.gone === undefined) {
    exchange.gone = new AbortController();
    if (hasGone(exchange.response)) exchange.gone.abort();
  }
  return exchange.gone.signal;
}

/**
 * Waits until there is room for an answer of so many bytes in the share of whoever asks; where it has some, for nothing. Errors: RequestRefused where
 * the asker goes meanwhile.
 */
export async function takeRoom(exchange: Exchange, bytes: number): Promise<void> {
  stopResting(exchange);
  exchange.room ??= await exchange.account.reserve(bytes, goneSignal(exchange));
  if (exchange.room === undefined) throw tooMuchHeld();
}

/** Gives it back: while it waits for something to happen, and at the end. */
export function restRoom(exchange: Exchange): void {
  stopResting(exchange);
  exchange.restsSince = performance.now();
  exchange.room?.release();
  exchange.room = undefined;
}

function stopResting(exchange: Exchange): void {
  if (exchange.restsSince !== undefined) exchange.waitedMs += performance.now() - exchange.restsSince;
  exchange.restsSince = undefined;
}

/**
 * It waits, and whoever works on it lets go of it: `onGone` is called should nobody wait for the answer any more. From here on it holds room for no
 * answer.
 */
export function rest(exchange: Exchange, onGone: () => void): void {
  restRoom(exchange);
  exchange.gone = undefined;
  exchange.onGone = onGone;
}

/** Its answer is on its way. What was read is held until the work on it has ended, and the answer until it has gone: whichever is later. */
export function close(exchange: Exchange): void {
  restRoom(exchange);
  exchange.gone = undefined;
  exchange.isOver = true;
  if (hasGone(exchange.response)) exchange.account.close();
}
