import type { OutgoingHttpHeaders } from "node:http";
import type { TokenIdentity } from "../../identity/tokens.js";
import { createDeadlines, type Due } from "../../lib/deadlines.js";
import { type Handle, showing } from "../../shapes/handle.js";
import type { Heard, ShapeWaiters } from "../../shapes/waiters.js";
import { type ShapeWatch, type Waiter, watchOf } from "../../shapes/watch.js";
import type { Answer } from "../answers.js";
import { type Exchange, goneSignal, rest, restRoom, takeRoom, waits } from "../exchange.js";
import { admittedTarget } from "../requests.js";
import { columnsOf, failedAnswer, headersOf, shapeAnswer, upToDate } from "./answers.js";
import type { ShapeChanges } from "./changes.js";
import type { EventWriter } from "./events.js";
import { Outdated, outdatedBy410, positionIn } from "./outdated.js";
import type { StreamPlaces } from "./places.js";
import { type Opened, unseen } from "./reading.js";
import { placeOf, type ShapePlace, type ShapeRequest, type ShapeWanted, wantedOf } from "./request.js";
import type { Rights } from "./rights.js";

/** What is answered now; undefined: a stream has been written to its end; or it waits. */
export type Outcome = Answer | undefined | typeof waits;

/**
 * Readers of the logs of shapes, from an answer of the database to the next. What happened behind a reader's position is told stretch by stretch, as it
 * happens: a long poll ends with the first that has something in it, a stream with its time. While nothing happens nothing is under way for a
 * reader: it is a plain object (`Follower`) where it is woken (`waiters`) and where its time is looked after. What its request says is read
 * again when it goes on. So what ten thousand readers cost who wait is their sockets, and little more.
 */
export interface Followers {
  /** Errors: Outdated; as the database. */
  begin(exchange: Exchange, identity: TokenIdentity, ask: ShapeRequest, waits: boolean): Promise<Outcome>;
  /** One that has waited goes on. */
  woken(follower: Follower, heard: Heard): void;
}

/** What is the same for all who follow a shape, held once. */
interface Followed {
  readonly key: string;
  readonly wanted: ShapeWanted;
  readonly opened: Opened;
  readonly watch: ShapeWatch;
  /** How many of them wait. */
  waiting: number;
}

/** Who follows a shape. */
export interface Follower extends Waiter, Due {
  readonly exchange: Exchange;
  readonly identity: TokenIdentity;
  followed: Followed;
  watch: ShapeWatch;
  /** Behind which position it reads on. */
  after: bigint;
  op: bigint;
  /** Until when it follows. */
  readonly deadline: number;
  /** Of a stream: of which address its place is. */
  readonly address: string | undefined;
  isWaiting: boolean;
}

export interface FollowServices {
  readonly rights: Rights;
  readonly changes: ShapeChanges;
  readonly waiters: ShapeWaiters<Follower>;
  readonly places: StreamPlaces;
  readonly events: EventWriter;
  readonly log: { debug(details: object, message: string): void };
  readonly settings: {
    readonly shapeWaitMs: number;
    readonly shapeStreamMs: number;
    readonly streamHeartbeatMs: number;
    readonly shapeChunkBytes: number;
  };
  isStopping(): boolean;
  /** What every answer has. */
  headersOf(exchange: Exchange): OutgoingHttpHeaders;
  /** Does more for a request that has waited, and answers it when that comes to an answer. */
  goOn(exchange: Exchange, identity: TokenIdentity, work: () => Promise<Outcome>): void;
  /** Nobody waits for an answer to a request any more that has waited. */
  finish(exchange: Exchange, answer: undefined): void;
}

/** Pages of the log that are gone through for one answer while they have nothing of the shape. */
const maxEmptyPages = 20;
/** So much later than asked for a wait may end, with others. */
const slotMs = 50;

/** What came of a stretch. */
interface Stretch {
  readonly messages: readonly string[];
  readonly next: { readonly in: "log"; readonly lsn: bigint; readonly op: bigint };
  readonly isUpToDate: boolean;
}

export function createFollowers(services: FollowServices): Followers {
  const { rights, changes, waiters, places, events, log, settings } = services;
  /** Those that somebody waits for, by key. */
  const shapes = new Map<string, Followed>();
  const deadlines = createDeadlines<Follower>(due, slotMs);

  function followedOf(ask: ShapeRequest, opened: Opened): Followed {
    const key = JSON.stringify([opened.shape, opened.epoch, ask.where]);
    const watch = watchOf({
      appId: opened.app_id,
      table: opened.table,
      schema: ask.schema,
      relation: ask.table,
      columns: opened.columns,
      spaces: new Set(opened.spaces),
      filter: ask.filter,
      others: opened.selected.map(({ app_id: appId, table, spaces }) => ({ appId, table, spaces: new Set(spaces) })),
      epoch: opened.epoch,
    });
    return { key, wanted: wantedOf(ask), opened, watch, waiting: 0 };
  }

  async function begin(exchange: Exchange, identity: TokenIdentity, ask: ShapeRequest, mayWait: boolean) {
    const { from } = ask;
    if (from.in !== "log") throw new Error("a request of the log stands in it");
    const { opened, moment } = await rights.verify(identity, ask);
    const handle = handleOf(ask, opened);
    const isStream = ask.events && mayWait;
    const address = isStream && !services.isStopping() ? places.take(exchange, identity) : undefined;
    if (isStream && address === undefined) return failedAnswer(429, "too_many_requests: too many connections are open");
    const ms = isStream ? settings.shapeStreamMs : ask.live && mayWait ? settings.shapeWaitMs : 0;
    const followed = followedOf(ask, opened);
    const follower: Follower = {
      exchange,
      identity,
      followed,
      watch: followed.watch,
      userId: identity.userId,
      after: from.lsn,
      op: from.op,
      // No longer than the token is good for.
      deadline: Math.min(Date.now() + ms, identity.expiresAt),
      address,
      isWaiting: false,
      dueAt: 0,
    };
    if (isStream) beginEvents(follower, ask, handle);
    return ended(follower, async () => {
      // Where all is known that lies behind it, there is nothing to read before there is something.
      // But for a filter that may be none: that is told at once, and whoever waits is tried with others.
      const isKnown = changes.isProven(ask, opened) && waiters.knows(opened.epoch, from.lsn);
      const mayWaitNow = ask.live && mayWait && from.op === 0n && isKnown;
      return mayWaitNow ? waitOn(follower, ask) : readOn(follower, ask, positionIn(opened, moment));
    });
  }

  async function waitOn(follower: Follower, ask: ShapeRequest): Promise<Outcome> {
    const heard = wait(follower);
    return heard === undefined ? waits : hear(follower, ask, heard);
  }

  async function hear(follower: Follower, ask: ShapeRequest, heard: Heard): Promise<Outcome> {
    if (!heard.found) return conclude(follower, ask, heard.upto);
    await verifyAgain(follower, ask);
    passTo(follower, heard.passed);
    return readOn(follower, ask, heard.upto);
  }

  function beginEvents(follower: Follower, ask: ShapeRequest, handle: Handle): void {
    const { exchange, followed } = follower;
    const { columns } = followed.opened;
    const live = { cursor: ask.cursor, everyMs: settings.shapeWaitMs };
    const start = { handle, columns, from: ask.from, next: ask.from, messages: [], isUpToDate: false, live };
    exchange.onGone = () => left(follower);
    events.begin(exchange.response, {
      ...services.headersOf(exchange),
      ...headersOf(start),
      "content-type": "text/event-stream",
    });
    setDue(follower);
  }

  /** When it has waited long enough; a stream shows before that that it lives, whatever is under way for it. */
  function setDue(follower: Follower): void {
    const { deadline, isWaiting, address } = follower;
    const left = isWaiting || Date.now() < deadline ? deadline - Date.now() : Number.POSITIVE_INFINITY;
    const ms = address === undefined ? left : Math.min(left, settings.streamHeartbeatMs);
    deadlines.set(follower, performance.now() + ms);
  }

  function due(follower: Follower): void {
    const { exchange, deadline, isWaiting, address } = follower;
    if (isWaiting && (address === undefined || Date.now() >= deadline - 1)) {
      const passed = waiters.leave(follower);
      woken(follower, { found: false, passed, upto: passed });
      return;
    }
    void events.write(exchange.response, ": keep-alive\n\n", exchange.account);
    setDue(follower);
  }

  /** Out: what is there already, so that it does not wait. */
  function wait(follower: Follower): Heard | undefined {
    const { exchange, after } = follower;
    restRoom(exchange);
    if (services.isStopping() || goneSignal(exchange).aborted) return { found: false, passed: after, upto: after };
    const followed = shapes.get(follower.followed.key) ?? follower.followed;
    follower.followed = followed;
    follower.watch = followed.watch;
    const heard = waiters.wait(follower);
    if (heard !== undefined) return heard;
    shapes.set(followed.key, followed);
    followed.waiting += 1;
    follower.isWaiting = true;
    if (follower.address === undefined) setDue(follower);
    rest(exchange, () => left(follower));
    return undefined;
  }

  function waitsNoMore(follower: Follower): void {
    const { followed, address } = follower;
    follower.isWaiting = false;
    followed.waiting -= 1;
    if (followed.waiting === 0) shapes.delete(followed.key);
    if (address === undefined) deadlines.remove(follower);
  }

  function woken(follower: Follower, heard: Heard): void {
    waitsNoMore(follower);
    services.goOn(follower.exchange, follower.identity, () => goOn(follower, heard));
  }

  function left(follower: Follower): void {
    const { exchange, identity, address, isWaiting } = follower;
    if (address !== undefined) {
      deadlines.remove(follower);
      places.give(address, identity);
    }
    if (!isWaiting) return;
    waiters.leave(follower);
    waitsNoMore(follower);
    services.finish(exchange, undefined);
  }

  async function goOn(follower: Follower, heard: Heard): Promise<Outcome> {
    const ask = { ...follower.followed.wanted, ...placeOf(admittedTarget(follower.exchange.request)) };
    return ended(follower, () => hear(follower, ask, heard));
  }

  /** Unless it waits, that was all. Errors: of a long poll, as `work`. */
  async function ended(follower: Follower, work: () => Promise<Outcome>): Promise<Outcome> {
    const isStream = follower.address !== undefined;
    let outcome: Outcome;
    try {
      outcome = await work();
    } catch (error) {
      if (!isStream) throw error;
      // A stream that cannot go on ends; when its client comes back it is told why.
      if (!(error instanceof Outdated)) log.debug({ err: error }, "an event stream of a shape ended early");
    }
    if (!isStream || outcome === waits) return outcome;
    deadlines.remove(follower);
    follower.exchange.response.end();
    return undefined;
  }

  /** Reads on, up to what is known to be there, until there is an answer, or it has to wait for more. Errors: Outdated. */
  async function readOn(follower: Follower, ask: ShapeRequest, known: bigint): Promise<Outcome> {
    const { exchange, identity, followed } = follower;
    const { opened } = followed;
    const { since, snapshot } = handleOf(ask, opened);
    const isSeen = snapshot === undefined ? () => false : showing(snapshot);
    const signal = goneSignal(exchange);
    const isOver = () => Date.now() >= follower.deadline;
    let upto = known;
    // Behind its beginning a reader finds what its first snapshot showed, if anywhere.
    let wereShown = follower.after <= since;
    for (let empty = 0; !signal.aborted; ) {
      // The database went back, or the offset was made up.
      if (follower.after + follower.op > upto) throw new Outdated(opened.shape);
      await takeRoom(exchange, settings.shapeChunkBytes);
      let from = { lsn: follower.after, op: follower.op, upto, since: snapshot };
      if (wereShown) from = { ...from, ...(await changes.passOver(identity, ask, from)) };
      const page = await outdatedBy410(opened.shape, () => changes.read(identity, ask, opened, from));
      if (page === undefined) throw new Outdated(opened.shape);
      const { lsn, op, isEnd } = page;
      [follower.after, follower.op] = [lsn, op];
      const messages = unseen(page, isSeen);
      wereShown = page.messages.length > messages.length;
      empty = messages.length > 0 ? 0 : empty + 1;
      if (messages.length === 0 && !isEnd && empty < maxEmptyPages) continue;
      if (messages.length > 0 || !isEnd || isOver()) {
        const told = await tell(follower, ask, { messages, next: { in: "log", lsn, op }, isUpToDate: isEnd });
        if (typeof told === "object") return told;
        if (!told || isOver()) return undefined;
        if (!isEnd) continue;
      }
      const heard = wait(follower);
      if (heard === undefined) return waits;
      if (!heard.found) return conclude(follower, ask, heard.upto);
      await verifyAgain(follower, ask);
      passTo(follower, heard.passed);
      upto = heard.upto;
    }
    return failedAnswer(503, "unavailable: whoever asked has gone");
  }

  /** Out: the answer of a long poll; of a stream, whether there is anybody to go on for. */
  async function tell(follower: Follower, ask: ShapeRequest, stretch: Stretch): Promise<Answer | boolean> {
    const { exchange, followed, address } = follower;
    const { messages, next, isUpToDate } = stretch;
    if (address === undefined) {
      const live = ask.live ? { cursor: ask.cursor, everyMs: settings.shapeWaitMs } : undefined;
      const handle = handleOf(ask, followed.opened);
      return shapeAnswer({ ...stretch, handle, columns: columnsOf(followed.opened, ask), from: ask.from, live });
    }
    const controls = isUpToDate ? [upToDate(next.lsn)] : [];
    const text = [...messages, ...controls].map((message) => `data: ${message}\n\n`).join("");
    return events.write(exchange.response, text, exchange.account);
  }

  /** There was nothing up to here. */
  async function conclude(follower: Follower, ask: ShapeRequest, upto: bigint): Promise<Outcome> {
    const told = await tell(follower, ask, { messages: [], next: { in: "log", lsn: upto, op: 0n }, isUpToDate: true });
    return typeof told === "object" ? told : undefined;
  }

  /** What is read may be shared with others: so rights are looked at first. Errors: Outdated. */
  async function verifyAgain({ identity, followed }: Follower, ask: ShapeRequest): Promise<void> {
    const { opened } = await rights.verify(identity, ask);
    if (opened.shape !== followed.opened.shape) throw new Outdated(opened.shape);
  }

  return { begin, woken };
}

/** Up to here there is nothing for it. */
function passTo(follower: Follower, position: bigint): void {
  if (position > follower.after) [follower.after, follower.op] = [position, 0n];
}

/** What a reader began with. Errors: Outdated where that is another shape. */
function handleOf({ handle }: ShapePlace, { shape }: Opened): Handle {
  if (handle === undefined || handle.definition !== shape) throw new Outdated(shape);
  return handle;
}
