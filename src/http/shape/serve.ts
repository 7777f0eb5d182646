import { PerchError } from "../../errors.js";
import type { TokenIdentity } from "../../identity/tokens.js";
import { type Handle, readSnapshot, type Snapshot, shows } from "../../shapes/handle.js";
import type { ShapeNews } from "../../shapes/news.js";
import { readRows } from "../../shapes/queries.js";
import type { Answer } from "../answers.js";
import { problemOf } from "../problems.js";
import { failedAnswer, invalidAnswer, mustRefetch, shapeAnswer, snapshotEnd } from "./answers.js";
import { newHandle, type Opened, type ShapeReading, unseen } from "./reading.js";
import { invalidBy, type ShapeRequest, shapeRequest } from "./request.js";

export interface ShapeServing {
  readonly reading: ShapeReading;
  readonly news: ShapeNews;
  readonly settings: {
    readonly shapeWaitMs: number;
    readonly shapeChunkBytes: number;
    readonly recheckMs: number;
  };
}

/** Pages of the log that are gone through for one answer while they have nothing of the shape. */
const maxEmptyPages = 20;

/** Who asks, until when. */
export interface ShapeCaller {
  readonly identity: TokenIdentity;
  readonly target: URL;
  /** Whoever asked has gone, or the server stops. */
  readonly signal: AbortSignal;
  /** Whether the answer may be waited for. */
  readonly waits: boolean;
}

/** What the reader has is to be fetched again, and by which handle. */
class Outdated extends Error {
  constructor(readonly shape: string) {
    super("the shape is another by now");
    this.name = "Outdated";
  }
}

/** Answers GET /v1/shape. Errors: those that are nobody's fault; everything else is an answer of the protocol. */
export async function serveShape(serving: ShapeServing, caller: ShapeCaller): Promise<Answer> {
  try {
    const ask = await shapeRequest(caller.target);
    return ask.from.in === "log" ? await logAnswer(serving, caller, ask) : await beginning(serving, caller, ask);
  } catch (error) {
    if (error instanceof Outdated) return mustRefetch(caller.target, newHandle(error.shape, 0n, undefined));
    const invalid = invalidBy(error);
    if (invalid !== undefined) return invalidAnswer(invalid);
    const { status, message } = problemOf(error);
    if (status >= 500 && status !== 503) throw error;
    return failedAnswer(status, message);
  }
}

/** The first snapshot, chunk by chunk, or where the log is now. */
async function beginning(
  { reading, settings }: ShapeServing,
  { identity }: ShapeCaller,
  ask: ShapeRequest,
): Promise<Answer> {
  const { from, handle } = ask;
  // Before the snapshot: whatever has such a position is shown by it.
  const since = handle?.since ?? (await reading.position());
  return reading.open(identity, ask, async (tx, opened) => {
    const { shape } = opened;
    const columns = columnsOf(opened, ask);
    const answer = { columns, from, live: undefined };
    if (from.in !== "rows" || (from.key === null && ask.changesOnly)) {
      const next = { in: "log", lsn: since, op: 0n } as const;
      const begun = newHandle(shape, since, snapshotOf(readSnapshot(opened.snapshot)));
      return shapeAnswer({ ...answer, handle: begun, next, messages: [], isUpToDate: true });
    }
    if (from.key !== null && (handle?.definition !== shape || handle.snapshot === undefined)) throw new Outdated(shape);
    const page = await outdatedBy410(shape, () =>
      readRows(tx, ask, { key: from.key, since, snapshot: handle?.snapshot, maxBytes: settings.shapeChunkBytes }),
    );
    const { messages, lastKey } = page;
    const snapshot = snapshotOf(page.snapshot);
    return shapeAnswer({
      ...answer,
      handle: handle ?? newHandle(shape, since, snapshot),
      next: lastKey === null ? { in: "log", lsn: since, op: 0n } : { in: "rows", key: lastKey },
      messages: [...(messages === "" ? [] : [messages]), ...(lastKey === null ? [snapshotEnd(snapshot)] : [])],
      // What was committed meanwhile comes with the next answer.
      isUpToDate: false,
    });
  });
}

/** What happened behind a position; a live request waits for something to happen. */
async function logAnswer(serving: ShapeServing, caller: ShapeCaller, ask: ShapeRequest): Promise<Answer> {
  const { reading, news, settings } = serving;
  const { identity, signal, waits } = caller;
  // No longer than the token is good for.
  const deadline = Math.min(Date.now() + (ask.live && waits ? settings.shapeWaitMs : 0), identity.expiresAt);
  const { handle, from } = ask;
  if (from.in !== "log") throw new Error("a request of the log stands in it");
  const opened = await verify(serving, caller, ask);
  if (handle === undefined || handle.definition !== opened.shape) throw new Outdated(opened.shape);
  let position = { lsn: from.lsn, op: from.op };
  let verifiedAt = Date.now();
  for (let empty = 0; ; ) {
    const upto = await reading.position();
    // The database went back, or the offset was made up.
    if (position.lsn + position.op > upto) throw new Outdated(opened.shape);
    const shared = await outdatedBy410(opened.shape, () =>
      reading.changes(identity, ask, opened.shape, { ...position, upto }),
    );
    if (shared === undefined) throw new Outdated(opened.shape);
    const { page } = shared;
    const messages = unseen(page, seenBy(handle));
    if (messages.length === 0 && !page.isEnd && empty < maxEmptyPages) {
      position = { lsn: page.lsn, op: page.op };
      empty += 1;
      continue;
    }
    const left = deadline - Date.now();
    const wanted = { appId: opened.app_id, table: opened.table, spaces: new Set(opened.spaces), after: page.lsn };
    const isDone = messages.length > 0 || !page.isEnd || left <= 0;
    if (isDone || !(await news.wait(wanted, left, signal))) {
      return shapeAnswer({
        handle,
        columns: columnsOf(opened, ask),
        from,
        next: { in: "log", lsn: page.lsn, op: page.op },
        messages,
        isUpToDate: page.isEnd,
        live: ask.live ? { cursor: ask.cursor, everyMs: settings.shapeWaitMs } : undefined,
      });
    }
    position = { lsn: page.lsn, op: page.op };
    // Another's reading may be shared: rights are looked at anew all the same.
    if (Date.now() - verifiedAt > settings.recheckMs) {
      const again = await verify(serving, caller, ask);
      if (again.shape !== opened.shape) throw new Outdated(again.shape);
      verifiedAt = Date.now();
    }
  }
}

function columnsOf({ columns }: Opened, ask: ShapeRequest): Opened["columns"] {
  return Object.fromEntries(Object.entries(columns).filter(([name]) => ask.columns?.includes(name) ?? true));
}

function snapshotOf(snapshot: Snapshot | undefined): Snapshot {
  if (snapshot === undefined) throw new PerchError("PE413", "more transactions are open than a handle can name");
  return snapshot;
}

const seenBy = ({ snapshot }: Handle) =>
  snapshot === undefined ? () => false : (txid: bigint) => shows(snapshot, txid);

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
