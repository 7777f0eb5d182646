import type { OutgoingHttpHeaders } from "node:http";
import type { Transaction } from "../../database/types.js";
import { PerchError } from "../../errors.js";
import type { TokenIdentity } from "../../identity/tokens.js";
import type { Reservation } from "../../lib/ledger.js";
import { type Handle, handleText, readSnapshot, type Snapshot, showing, snapshotEnd } from "../../shapes/handle.js";
import { logStart, offsetOf } from "../../shapes/position.js";
import { readRows, readSubset, rowsBody, type Subset } from "../../shapes/queries.js";
import type { ShapeWaiters } from "../../shapes/waiters.js";
import type { Answer } from "../answers.js";
import { problemOf } from "../problems.js";
import { failedAnswer, headersOf, invalidAnswer, mustRefetch, shapeAnswer, shapeSubset, upToDate } from "./answers.js";
import type { ReadAhead } from "./read-ahead.js";
import { isOf, newHandle, type Opened, refetchHandle, type ShapeReading, snapshotOf, unseen } from "./reading.js";
import { invalidBy, type ShapeRequest, shapeRequest } from "./request.js";
import { subsetError, subsetOf } from "./subset.js";

export interface ShapeServing {
  readonly reading: ShapeReading;
  readonly ahead: ReadAhead;
  readonly waiters: ShapeWaiters;
  readonly log: { debug(details: object, message: string): void };
  readonly settings: {
    readonly shapeWaitMs: number;
    readonly shapeStreamMs: number;
    readonly streamHeartbeatMs: number;
    readonly shapeChunkBytes: number;
    readonly recheckMs: number;
  };
}

/** Pages of the log that are gone through for one answer while they have nothing of the shape. */
const maxEmptyPages = 20;

/** As perch.shape_subset has it. */
const maxSubsetBytes = 32_000_000;

/** Who asks, until when. */
export interface ShapeCaller {
  readonly identity: TokenIdentity;
  readonly target: URL;
  /** Whoever asked has gone, or the server stops. */
  readonly signal: AbortSignal;
  /** Whether the answer may be waited for. */
  readonly waits: boolean;
  /** Of a POST. */
  readonly body: string | undefined;
  /** Waits for room for an answer in the user's share, until `rest`, or what comes of it is counted. */
  reserve(bytes: number): Promise<void>;
  /** Room for what the user will ask for next; undefined where there is not much of it. */
  spare(bytes: number): Promise<Reservation | undefined>;
  /** Holds nothing meanwhile. */
  rest(): void;
  /** Answers with events from here on. Out: undefined, where there is room for no more streams. */
  stream(headers: OutgoingHttpHeaders): EventWriter | undefined;
}

/** Writes events to a client. */
export interface EventWriter {
  /** Resolves when the client can take more; false: it has gone, or does not read. */
  write(text: string): Promise<boolean>;
  end(): void;
}

/** What the reader has is to be fetched again: the shape is this one by now. */
class Outdated extends Error {
  constructor(readonly shape: string) {
    super("the shape is another by now");
    this.name = "Outdated";
  }
}

/** Answers GET and POST of /v1/shape. Out: undefined when it went on by itself. Errors: those that are nobody's fault, PE404. */
export async function serveShape(serving: ShapeServing, caller: ShapeCaller): Promise<Answer | undefined> {
  try {
    const ask = await shapeRequest(caller.target);
    const subset = await subsetOf(caller.target, ask, caller.body);
    if (subset !== undefined) return await subsetAnswer(serving, caller, ask, subset);
    if (ask.from.in !== "log") return await beginning(serving, caller, ask);
    return ask.events && caller.waits ? await logEvents(serving, caller, ask) : await logAnswer(serving, caller, ask);
  } catch (error) {
    if (error instanceof Outdated) return mustRefetch(caller.target, refetchHandle(error.shape));
    if (error instanceof PerchError && error.code === "PE404") throw error;
    return shapeFailure(error);
  }
}

/** A position says something of a shape only in the epoch that the shape was opened in. Errors: Outdated. */
function positionIn({ epoch, shape }: Opened, there: { readonly position: bigint; readonly epoch: string }): bigint {
  if (there.epoch !== epoch) throw new Outdated(shape);
  return there.position;
}

/** The answer to a request that threw, in the protocol's form. Errors: those that are nobody's fault. */
export function shapeFailure(error: unknown): Answer {
  const invalid = invalidBy(error);
  if (invalid !== undefined) return invalidAnswer(invalid);
  const { status, message } = problemOf(error);
  if (status >= 500 && status !== 503) throw error;
  return failedAnswer(status, message);
}

/** The first snapshot, chunk by chunk, or where the log is now. */
async function beginning(
  { reading, ahead, settings }: ShapeServing,
  { identity, reserve, spare }: ShapeCaller,
  ask: ShapeRequest,
): Promise<Answer> {
  const { from, handle } = ask;
  const name = (handle: Handle, key: readonly string[]) => [handleText(handle), offsetOf({ in: "rows", key })].join();
  const isNext = from.in === "rows" && from.key !== null && handle !== undefined;
  const known = isNext ? await ahead.take(identity.userId, name(handle, from.key)) : undefined;
  await reserve(settings.shapeChunkBytes);
  // Before the snapshot: whatever has such a position is shown by it.
  const moment = handle === undefined ? await reading.moment() : undefined;
  const since = handle?.since ?? moment?.position ?? 0n;
  const rows = (
    { tx, opened }: { tx: Transaction; opened: Opened },
    key: readonly string[] | null,
    snapshot: Snapshot | undefined,
    maxBytes: number,
  ) =>
    outdatedBy410(opened.shape, async () => {
      const page = await readRows(tx, ask, { key, since, snapshot, maxBytes });
      if (!isOf(opened, page)) throw new Outdated(opened.shape);
      return page;
    });

  /** The answer does not wait for it. */
  function readNext(shown: Handle, key: readonly string[] | null): void {
    if (key === null) return;
    const read = () =>
      reading.open(identity, ask, (tx, opened) => {
        if (opened.shape !== shown.definition) throw new Outdated(opened.shape);
        return rows({ tx, opened }, key, shown.snapshot, settings.shapeChunkBytes);
      });
    void spare(settings.shapeChunkBytes).then((room) => {
      if (room !== undefined) ahead.begin(identity.userId, name(shown, key), room, read);
    });
  }

  // While the database reads the next chunk, the rights to this one are looked at, and its messages are made.
  if (known !== undefined && handle !== undefined) readNext(handle, known.lastKey);
  let next: { readonly handle: Handle; readonly key: readonly string[] | null } | undefined;
  const answer = await reading.open(identity, ask, async (tx, opened) => {
    const { shape } = opened;
    if (moment !== undefined) positionIn(opened, moment);
    const columns = columnsOf(opened, ask);
    const answer = { columns, from, live: undefined };
    if (from.in !== "rows" || (from.key === null && ask.changesOnly)) {
      const next = { in: "log", lsn: since, op: 0n } as const;
      const begun = newHandle(shape, since, moment?.snapshot ?? snapshotOf(readSnapshot(opened.snapshot)));
      // A snapshot of no rows ends, too: whoever counts transactions knows by it which are behind.
      const ends = from.in === "rows" && begun.snapshot !== undefined ? [snapshotEnd(begun.snapshot)] : [];
      return shapeAnswer({ ...answer, handle: begun, next, messages: ends, isUpToDate: true });
    }
    if (from.key !== null && (handle?.definition !== shape || handle.snapshot === undefined)) throw new Outdated(shape);
    const read = (maxBytes: number) => rows({ tx, opened }, from.key, (handle ?? moment)?.snapshot, maxBytes);
    let page = known ?? (await read(settings.shapeChunkBytes));
    let body = rowsBody(page, 2 * settings.shapeChunkBytes);
    if (body === undefined) {
      // Control characters, which Postgres writes as they are, are longer in JSON: then a quarter is enough.
      page = await read(settings.shapeChunkBytes >> 2);
      body = rowsBody(page, Number.POSITIVE_INFINITY) as Buffer;
    }
    const { lastKey } = page;
    const snapshot = snapshotOf(page.snapshot);
    const shown = handle ?? newHandle(shape, since, snapshot);
    if (page !== known) next = { handle: shown, key: lastKey };
    return shapeAnswer({
      ...answer,
      handle: shown,
      next: lastKey === null ? logStart : { in: "rows", key: lastKey },
      messages: body,
      // What was committed meanwhile comes with the next answer.
      isUpToDate: false,
    });
  });
  if (next !== undefined) readNext(next.handle, next.key);
  if (handle === undefined) await reading.keepNumbers();
  return answer;
}

/** Some rows as they are now, beside what the reader follows. */
async function subsetAnswer(
  { reading }: ShapeServing,
  { identity, reserve }: ShapeCaller,
  ask: ShapeRequest,
  subset: Subset,
): Promise<Answer> {
  await reserve(maxSubsetBytes);
  // Whoever has not begun to follow the shape does so from here: what these rows do not show comes later.
  const before = await reading.position();
  const { handle, from } = ask;
  const { opened, rows } = await reading.openThere(identity, ask, async (tx, opened) => {
    const isAgain = handle?.definition === refetchHandle(opened.shape).definition;
    if (from.in === "log" && handle?.definition !== opened.shape && !isAgain) throw new Outdated(opened.shape);
    positionIn(opened, before);
    const rows = await readSubset(tx, ask, subset).catch((error: unknown) => {
      throw subsetError(error);
    });
    return { opened, rows };
  });
  // What had no number yet when they were read gets one behind this, with room for numbers that come to nothing.
  const since = before.position;
  await reading.keepNumbers();
  const upto = positionIn(opened, await reading.position()) + 1n + (rows.waiting === 0n ? 0n : rows.waiting + 100_000n);
  return shapeSubset({
    handle: handle ?? newHandle(opened.shape, since, undefined),
    columns: columnsOf(opened, ask),
    // What the reader has not been told of yet is told as ever.
    next: from.in === "log" ? from : { in: "log", lsn: since, op: 0n },
    messages: rows.messages,
    snapshot: snapshotOf(rows.snapshot),
    mark: subset.mark,
    upto,
  });
}

/** A stretch of a shape's log. */
interface Stretch {
  readonly opened: Opened;
  readonly handle: Handle;
  readonly messages: readonly string[];
  readonly next: { readonly in: "log"; readonly lsn: bigint; readonly op: bigint };
  readonly isUpToDate: boolean;
}

/**
 * What happened behind a position, as it happens: stretch after stretch, each with something in it, up to a deadline; the last may be empty.
 * Errors: Outdated.
 */
async function* stretches(
  serving: ShapeServing,
  caller: ShapeCaller,
  ask: ShapeRequest,
  deadline: number,
): AsyncGenerator<Stretch> {
  const { reading, waiters, settings } = serving;
  const { identity, signal } = caller;
  const { from } = ask;
  if (from.in !== "log") throw new Error("a request of the log stands in it");
  const { opened, handle } = await begun(serving, caller, ask);
  const others = opened.selected.map(({ app_id: appId, table, spaces }) => ({ appId, table, spaces: new Set(spaces) }));
  const spaces = new Set(opened.spaces);
  let position = { lsn: from.lsn, op: from.op };
  const isSeen = seenBy(handle);
  let verifiedAt = Date.now();
  let upto = positionIn(opened, await reading.position());
  for (let empty = 0; !signal.aborted; ) {
    // The database went back, or the offset was made up.
    if (position.lsn + position.op > upto) throw new Outdated(opened.shape);
    await caller.reserve(settings.shapeChunkBytes);
    const shared = await outdatedBy410(opened.shape, () =>
      reading.changes(identity, ask, opened.shape, { ...position, upto, since: handle.snapshot }),
    );
    if (shared === undefined) throw new Outdated(opened.shape);
    const { page } = shared;
    position = { lsn: page.lsn, op: page.op };
    const messages = unseen(page, isSeen);
    empty = messages.length > 0 ? 0 : empty + 1;
    if (messages.length === 0 && !page.isEnd && empty < maxEmptyPages) continue;
    const wanted = {
      ...{ appId: opened.app_id, table: opened.table, schema: ask.schema, relation: ask.table },
      ...{ spaces, others, filter: ask.filter, userId: identity.userId, epoch: opened.epoch, after: page.lsn },
    };
    const isOver = () => Date.now() >= deadline;
    if (messages.length > 0 || !page.isEnd || isOver()) {
      yield { opened, handle, messages, next: { in: "log", ...position }, isUpToDate: page.isEnd };
      if (isOver()) return;
      if (!page.isEnd) continue;
    }
    caller.rest();
    const heard = await waiters.wait(wanted, deadline - Date.now(), signal);
    upto = heard.upto;
    if (!heard.found) {
      yield { opened, handle, messages: [], next: { in: "log", lsn: upto, op: 0n }, isUpToDate: true };
      return;
    }
    // Another's reading may be shared: rights are looked at anew all the same.
    if (Date.now() - verifiedAt > settings.recheckMs) {
      const again = await verify(serving, caller, ask);
      if (again.shape !== opened.shape) throw new Outdated(again.shape);
      verifiedAt = Date.now();
    }
  }
}

/** What happened behind a position; a live request waits for something to happen. */
async function logAnswer(serving: ShapeServing, caller: ShapeCaller, ask: ShapeRequest): Promise<Answer> {
  const { shapeWaitMs } = serving.settings;
  const deadline = until(caller, ask.live && caller.waits ? shapeWaitMs : 0);
  for await (const { opened, ...stretch } of stretches(serving, caller, ask, deadline)) {
    const live = ask.live ? { cursor: ask.cursor, everyMs: shapeWaitMs } : undefined;
    return shapeAnswer({ ...stretch, columns: columnsOf(opened, ask), from: ask.from, live });
  }
  return failedAnswer(503, "unavailable: whoever asked has gone");
}

/** The same as Server-Sent Events, for a while. A stream that cannot go on ends; when its client comes back it is told why. */
async function logEvents(serving: ShapeServing, caller: ShapeCaller, ask: ShapeRequest): Promise<Answer | undefined> {
  const { shapeWaitMs, shapeStreamMs, streamHeartbeatMs } = serving.settings;
  const { opened, handle } = await begun(serving, caller, ask);
  const live = { cursor: ask.cursor, everyMs: shapeWaitMs };
  const start = { handle, columns: opened.columns, from: ask.from, next: ask.from, messages: [], isUpToDate: false };
  const writer = caller.stream({ ...headersOf({ ...start, live }), "content-type": "text/event-stream" });
  if (writer === undefined) return failedAnswer(429, "too_many_requests: too many connections are open");
  const beat = setInterval(() => void writer.write(": keep-alive\n\n"), streamHeartbeatMs);
  try {
    for await (const stretch of stretches(serving, caller, ask, until(caller, shapeStreamMs))) {
      const controls = stretch.isUpToDate ? [upToDate(stretch.next.lsn)] : [];
      const text = [...stretch.messages, ...controls].map((message) => `data: ${message}\n\n`).join("");
      if (!(await writer.write(text))) break;
    }
  } catch (error) {
    if (!(error instanceof Outdated)) serving.log.debug({ err: error }, "an event stream of a shape ended early");
  } finally {
    clearInterval(beat);
    writer.end();
  }
  return undefined;
}

/** No longer than the token is good for. */
const until = ({ identity }: ShapeCaller, ms: number) => Math.min(Date.now() + ms, identity.expiresAt);

async function begun(serving: ShapeServing, caller: ShapeCaller, ask: ShapeRequest) {
  const opened = await verify(serving, caller, ask);
  const { handle } = ask;
  if (handle === undefined || handle.definition !== opened.shape) throw new Outdated(opened.shape);
  return { opened, handle };
}

function columnsOf({ columns }: Opened, ask: ShapeRequest): Opened["columns"] {
  return Object.fromEntries(Object.entries(columns).filter(([name]) => ask.columns?.includes(name) ?? true));
}

const seenBy = ({ snapshot }: Handle) => (snapshot === undefined ? () => false : showing(snapshot));

function verify({ reading }: ShapeServing, { identity }: ShapeCaller, ask: ShapeRequest): Promise<Opened> {
  return reading.open(identity, ask, async (_, opened) => opened);
}

async function outdatedBy410<T>(shape: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof PerchError && error.code === "PE410") throw new Outdated(shape);
    throw error;
  }
}
