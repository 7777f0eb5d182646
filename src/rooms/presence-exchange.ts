import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import { isFinal } from "../database/errors.js";
import type { Database } from "../database/types.js";
import { createMachine, type Step } from "../lib/state-machine.js";
import type { NotificationHub } from "../notifications/hub.js";
import {
  enterPresence,
  leavePresence,
  type PresenceAddress,
  type PresenceCursor,
  presenceCursor,
  putPresence,
  readPresence,
  readPresenceChanges,
  type StoredEntry,
} from "./presence-queries.js";
import { createWaiting, settle } from "./presence-waiting.js";
import type { RoomReader } from "./room.js";

/** What presence rooms have to do with the database, and so with other nodes. */
export interface PresenceExchange {
  /** What is stored of a room; call it after the room takes what arrives, so that nothing is missed. Throws when it cannot be read. */
  load(room: PresenceAddress): Promise<StoredEntry[]>;
  /** Stores entries that a reader of this node has set; what waits is held for `holder`. Out: resolves when committed. Rejects when that failed. */
  store(room: PresenceAddress, entries: readonly StoredEntry[], holder?: Pick<RoomReader, "hold">): Promise<void>;
  /** Whether other nodes want to know of what is not persisted. */
  hasOthers(): boolean;
  close(): Promise<void>;
}

export interface ExchangeEvents {
  /** Another node has put entries into a room, which need not be open here. */
  arrived(room: PresenceAddress, entries: readonly StoredEntry[]): void;
  /** Other nodes appeared where there were none: they know nothing of what is here. */
  othersCame(): void;
  /** Every few seconds, where there may be other nodes. */
  beat(): void;
}

export interface ExchangeOptions {
  readonly db: Database;
  readonly notifications: Pick<NotificationHub, "add">;
  readonly log: Logger;
  /** How often entries are stored at most. */
  readonly intervalMs: number;
  /** What is persisted for one user at most, in bytes. */
  readonly maxUserBytes: number;
  readonly on: ExchangeEvents;
}

/** Of one statement. */
const bounds = { items: 2_000, bytes: 2 ** 20 };
/** A node that is silent for 30 s is taken for gone. Also how long a lost notification delays what it was about. */
const heartbeatMs = 5_000;
const retryMs = 1_000;

/** `greeting`: besides reading what changed, says that this node is there, and asks for the others. */
export type Poll = "changes" | "greeting";

/** Polls are made one at a time. Of those that are asked for meanwhile, one follows. */
export type Polling = "idle" | "polling" | "polling, then changes" | "polling, then greeting" | "closed";

type Polled = Step<Polling, Poll>;

const goOn = (state: Polling): Polled => ({ state, actions: [] });
const begin = (poll: Poll): Polled => ({ state: "polling", actions: [poll] });
const greetNext = goOn("polling, then greeting");
const closed: Polled = goOn("closed");

/** What an event makes of a state, and which poll begins. */
export const polls: Readonly<Record<Polling, Readonly<Record<Poll | "polled" | "close", Polled>>>> = {
  idle: { changes: begin("changes"), greeting: begin("greeting"), polled: goOn("idle"), close: closed },
  polling: { changes: goOn("polling, then changes"), greeting: greetNext, polled: goOn("idle"), close: closed },
  "polling, then changes": {
    changes: goOn("polling, then changes"),
    greeting: greetNext,
    polled: begin("changes"),
    close: closed,
  },
  "polling, then greeting": { changes: greetNext, greeting: greetNext, polled: begin("greeting"), close: closed },
  closed: { changes: closed, greeting: closed, polled: closed, close: closed },
};

/**
 * Exchanges presence with other nodes through a table, and keeps there what is persisted. What waits for the next call is bounded by
 * what the rooms may hold: of each key only the latest entry of a user waits, and whoever brings much keeps nobody else waiting. A notification has no content, and is only a hint: everything is read
 * from the table, also without one, every few seconds. With the embedded database there is one node, so nothing is exchanged.
 */
export function createPresenceExchange(options: ExchangeOptions): PresenceExchange {
  const { db, notifications, log, intervalMs, maxUserBytes, on } = options;
  const nodeId = randomUUID();
  const alone = db.kind === "pglite";
  const waiting = createWaiting();
  let storing: Promise<void> | undefined;
  let storedAt = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;
  let others = false;
  /** Up to where changes are known; undefined until the first answer of the database. */
  let cursor: PresenceCursor | undefined;
  let polling: Promise<void> | undefined;
  let failing = false;
  let storeFailing = false;
  let heartbeat: NodeJS.Timeout | undefined;
  let closing = false;

  const order = createMachine<Polling, Poll | "polled" | "close", Poll>(
    "idle",
    (state, event) => polls[state][event],
    (action) => {
      polling = poll(action).then(() => order.tell("polled"));
      return undefined;
    },
  );

  async function poll(action: Poll): Promise<void> {
    try {
      if (action === "greeting" || cursor === undefined) await greet();
      cursor ??= await presenceCursor(db, nodeId);
      for (let more = true; more; ) {
        const changes = await readPresenceChanges(db, nodeId, cursor);
        for (const [room, entries] of changes.rooms) on.arrived(room, entries);
        ({ cursor, more } = changes);
      }
      if (failing) log.info("who is present on other nodes can be read again");
      failing = false;
    } catch (error) {
      // One line when it begins and one when it ends, however long the database is away.
      if (!failing && order.state !== "closed")
        log.warn({ err: error }, "who is present on other nodes could not be read; it is tried again");
      failing = true;
    }
  }

  async function greet(): Promise<void> {
    const entered = await enterPresence(db, nodeId);
    // A database that was set back in place counts anew.
    if (cursor !== undefined && entered.head < cursor.seen) cursor = { ...cursor, seen: entered.head };
    const before = others;
    others = entered.others;
    if (others && !before) on.othersCame();
  }

  const stopListening = alone
    ? () => undefined
    : notifications.add({
        notified(one) {
          if (one.channel !== "perch_presence") return;
          if (one.node) order.tell("greeting");
          else if (one.seq !== undefined && (cursor === undefined || one.seq > cursor.seen)) order.tell("changes");
        },
        ready: () => order.tell("greeting"),
      });
  if (!alone) {
    order.tell("greeting");
    heartbeat = setInterval(() => {
      order.tell("greeting");
      on.beat();
    }, heartbeatMs);
    heartbeat.unref();
  }

  function schedule(delay: number): void {
    if (storing !== undefined) return;
    timer ??= setTimeout(() => {
      timer = undefined;
      storing = put().finally(() => {
        storing = undefined;
        if (!waiting.isEmpty()) schedule(closing ? 0 : nextDelay());
      });
    }, delay);
  }

  const nextDelay = () => Math.max(0, storedAt + intervalMs - performance.now());

  async function put(): Promise<void> {
    storedAt = performance.now();
    waiting.forgetExpired(storedAt);
    const items = waiting.take(bounds);
    if (items.length === 0) return;
    const left = items.map(({ room, entry, until }) => ({
      room,
      entry: { ...entry, keepMs: Math.max(1, Math.round(until - storedAt)) },
    }));
    try {
      const change = await putPresence(db, nodeId, left, maxUserBytes);
      storeFailing = false;
      // Nobody else's call lies between, so there is nothing to read.
      if (cursor !== undefined && change === cursor.seen + 1) cursor = { ...cursor, seen: change };
      settle(items);
    } catch (error) {
      for (const { waiters } of items) for (const { reject } of waiters) reject(error);
      if (closing) return;
      if (!storeFailing || isFinal(error))
        log.warn({ err: error }, "presence could not be stored; other nodes are behind until it is tried again");
      if (isFinal(error)) return;
      storeFailing = true;
      storedAt = performance.now() + retryMs - intervalMs;
      // Stored later all the same.
      waiting.putBack(items);
    }
  }

  return {
    async load(room) {
      if (alone && room.kind === "ephemeral") return [];
      // What is put after this is read must be told of.
      if (!alone && cursor === undefined) {
        order.tell("greeting");
        await polling;
        if (cursor === undefined) throw new Error("the presence of other nodes cannot be read yet");
      }
      return readPresence(db, room);
    },
    store(room, entries, holder) {
      if (entries.length === 0) return Promise.resolve();
      const stored = new Promise<void>((resolve, reject) => {
        const waiter = { left: entries.length, resolve, reject };
        const now = performance.now();
        for (const entry of entries) waiting.add({ room, entry, holder, until: now + entry.keepMs }, waiter);
      });
      schedule(nextDelay());
      return stored;
    },
    hasOthers: () => others,
    async close() {
      if (closing) return;
      closing = true;
      order.tell("close");
      clearInterval(heartbeat);
      stopListening();
      await polling;
      clearTimeout(timer);
      timer = undefined;
      while (!waiting.isEmpty() || storing !== undefined) {
        schedule(0);
        await (storing ?? new Promise((resolve) => setTimeout(resolve, 1)));
      }
      if (alone) return;
      await leavePresence(db, nodeId).catch((error: unknown) =>
        log.info({ err: error }, "the other nodes could not be told that this one ends; they notice by themselves"),
      );
    },
  };
}
