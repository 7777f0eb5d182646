import type { Transaction } from "../../database/types.js";
import { PerchError } from "../../errors.js";
import type { TokenIdentity } from "../../identity/tokens.js";
import { type Handle, handleText, readSnapshot, type Snapshot, snapshotEnd } from "../../shapes/handle.js";
import { logStart, offsetOf } from "../../shapes/position.js";
import { readRows, readSubset, rowsBody, type Subset } from "../../shapes/queries.js";
import type { Answer } from "../answers.js";
import { type Exchange, goneSignal, takeRoom } from "../exchange.js";
import { problemOf } from "../problems.js";
import { admittedTarget } from "../requests.js";
import { columnsOf, failedAnswer, invalidAnswer, mustRefetch, shapeAnswer, shapeSubset } from "./answers.js";
import type { Followers, Outcome } from "./follow.js";
import { Outdated, outdatedBy410, positionIn } from "./outdated.js";
import type { ReadAhead } from "./read-ahead.js";
import { isOf, newHandle, type Opened, refetchHandle, type ShapeReading, snapshotOf } from "./reading.js";
import { invalidBy, type ShapeRequest, shapeRequest } from "./request.js";
import { subsetError, subsetOf } from "./subset.js";

export interface ShapeServing {
  readonly reading: ShapeReading;
  readonly ahead: ReadAhead;
  readonly followers: Followers;
  readonly settings: { readonly shapeChunkBytes: number };
  isStopping(): boolean;
}

/** As perch.shape_subset has it. */
const maxSubsetBytes = 32_000_000;

/** Who asks. */
export interface ShapeCaller {
  readonly exchange: Exchange;
  readonly identity: TokenIdentity;
  /** Of a POST. */
  readonly body: string | undefined;
}

/** Answers GET, HEAD and POST of /v1/shape. Errors: those that are nobody's fault, PE404. */
export function serveShape(serving: ShapeServing, caller: ShapeCaller): Promise<Outcome> {
  const { exchange, identity, body } = caller;
  return inProtocol(exchange, async () => {
    const target = admittedTarget(exchange.request);
    const ask = await shapeRequest(target);
    const subset = await subsetOf(target, ask, body);
    if (subset !== undefined) return subsetAnswer(serving, caller, ask, subset);
    if (ask.from.in !== "log") return beginning(serving, caller, ask);
    return serving.followers.begin(exchange, identity, ask, exchange.request.method === "GET");
  });
}

/** What `work` comes to, its errors in the protocol's form. Errors: those that are nobody's fault, PE404. */
export async function inProtocol({ request }: Exchange, work: () => Promise<Outcome>): Promise<Outcome> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Outdated) return mustRefetch(admittedTarget(request), refetchHandle(error.shape));
    if (error instanceof PerchError && error.code === "PE404") throw error;
    return shapeFailure(error);
  }
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
  { reading, ahead, settings, isStopping }: ShapeServing,
  { exchange, identity }: ShapeCaller,
  ask: ShapeRequest,
): Promise<Answer> {
  const { from, handle } = ask;
  const name = (handle: Handle, key: readonly string[]) => [handleText(handle), offsetOf({ in: "rows", key })].join();
  const isNext = from.in === "rows" && from.key !== null && handle !== undefined;
  const known = isNext ? await ahead.take(identity.userId, name(handle, from.key)) : undefined;
  await takeRoom(exchange, settings.shapeChunkBytes);
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
    const { account } = exchange;
    // What the user does meanwhile is not to wait for it.
    if (!account.fits(3 * settings.shapeChunkBytes) || goneSignal(exchange).aborted || isStopping()) return;
    void account.reserve(settings.shapeChunkBytes).then((room) => {
      ahead.begin(identity.userId, name(shown, key), room, read);
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
  { exchange, identity }: ShapeCaller,
  ask: ShapeRequest,
  subset: Subset,
): Promise<Answer> {
  await takeRoom(exchange, maxSubsetBytes);
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
