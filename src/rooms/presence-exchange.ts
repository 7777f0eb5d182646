import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import { isFinal } from "../database/errors.js";
import type { Database } from "../database/types.js";
import { documentId } from "../documents/key.js";
import { takeBatch } from "../lib/batches.js";
import type { NotificationHub } from "../notifications/hub.js";
import {
  enterPresence,
  leavePresence,
  type PresenceAddress,
  type PresenceCursor,
  type PresenceItem,
  presenceCursor,
  putPresence,
  readPresence,
  readPresenceChanges,
  type StoredEntry,
} from "./presence-queries.js";

/** What presence rooms have to do with the database, and so with other nodes. */
export interface PresenceExchange {
  /** What is stored of a room; call it after news of the room are taken, so that none is missed. Throws when it cannot be read. */
  load(room: PresenceAddress): Promise<StoredEntry[]>;
  /** Stores entries that a reader of this node has set. Out: resolves when committed. Rejects when that failed. */
  store(room: PresenceAddress, entries: readonly StoredEntry[]): Promise<void>;
  /** Whether other nodes want to know of what is not persisted. */
  hasOthers(): boolean;
  close(): Promise<void>;
}

export interface ExchangeEvents {
  /** Another node has put entries into a room, which need not be open here. */
  arrived(room: PresenceAddress, entries: readonly StoredEntry[]): void;
  /** Other nodes appeared where there were none: they know nothing of what is here. */
  othersCame(): void;
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

interface Waiting extends PresenceItem {
  readonly settle: { resolve(): void; reject(error: unknown): void }[];
}

/** Of one statement. */
const bounds = { items: 2_000, bytes: 2 ** 20 };
/** A node that is silent for 30 s is taken for gone. Also how long a lost notification delays what it was about. */
const heartbeatMs = 5_000;
const retryMs = 1_000;

/**
 * Exchanges presence with other nodes through a table, and keeps there what is persisted. What waits for the next call is bounded by
 * what the rooms may hold: of each key only the latest entry waits. A notification has no content, and is only a hint: everything is read
 * from the table, also without one, every few seconds. With the embedded database there is one node, so nothing is exchanged.
 */
export function createPresenceExchange(options: ExchangeOptions): PresenceExchange {
  const { db, notifications, log, intervalMs, maxUserBytes, on } = options;
  const nodeId = randomUUID();
  const alone = db.kind === "pglite";
  let waiting = new Map<string, Waiting>();
  let storing: Promise<void> | undefined;
  let storedAt = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;
  let others = false;
  /** Up to where the news are known; undefined until the first answer of the database. */
  let cursor: PresenceCursor | undefined;
  let polling: Promise<void> | undefined;
  let pollAgain: "no" | "news" | "greet" = "no";
  let failing = false;
  let storeFailing = false;
  let heartbeat: NodeJS.Timeout | undefined;
  let closed = false;

  async function poll(greet: boolean): Promise<void> {
    if (greet || cursor === undefined) {
      const entered = await enterPresence(db, nodeId);
      // A database that was set back in place counts anew.
      if (cursor !== undefined && entered.head < cursor.seen) cursor = { ...cursor, seen: entered.head };
      const before = others;
      others = entered.others;
      if (others && !before) on.othersCame();
    }
    cursor ??= await presenceCursor(db, nodeId);
    for (let more = true; more; ) {
      const news = await readPresenceChanges(db, nodeId, cursor);
      for (const [room, entries] of news.rooms) on.arrived(room, entries);
      ({ cursor, more } = news);
    }
  }

  /** Looks once at a time, and once more when there was a reason to meanwhile. */
  function wake(greet: boolean): void {
    if (closed) return;
    if (polling !== undefined) {
      if (pollAgain !== "greet") pollAgain = greet ? "greet" : "news";
      return;
    }
    polling = poll(greet)
      .then(
        () => {
          if (failing) log.info("the presence of other nodes can be read again");
          failing = false;
        },
        (error: unknown) => {
          // One line when it begins and one when it ends, however long the database is away.
          if (!failing && !closed) log.warn({ err: error }, "the presence of other nodes could not be read");
          failing = true;
        },
      )
      .finally(() => {
        polling = undefined;
        const again = pollAgain;
        pollAgain = "no";
        if (again !== "no") wake(again === "greet");
      });
  }

  const stopListening = alone
    ? () => undefined
    : notifications.add({
        notified(one) {
          if (one.channel !== "perch_presence") return;
          if (one.node) wake(true);
          else if (one.seq !== undefined && (cursor === undefined || one.seq > cursor.seen)) wake(false);
        },
        ready: () => wake(true),
      });
  if (!alone) {
    wake(true);
    heartbeat = setInterval(() => wake(true), heartbeatMs);
    heartbeat.unref();
  }

  function schedule(delay: number): void {
    if (storing !== undefined) return;
    timer ??= setTimeout(() => {
      timer = undefined;
      storing = put().finally(() => {
        storing = undefined;
        if (waiting.size > 0) schedule(closed ? 0 : nextDelay());
      });
    }, delay);
  }

  const nextDelay = () => Math.max(0, storedAt + intervalMs - performance.now());

  async function put(): Promise<void> {
    storedAt = performance.now();
    const batch = takeBatch(waiting, bounds, ([, { entry }]) => ({ items: 1, bytes: entry.bytes.length }));
    for (const [id] of batch) waiting.delete(id);
    const items = batch.map(([, item]) => item);
    try {
      const change = await putPresence(db, nodeId, items, maxUserBytes);
      storeFailing = false;
      // Nobody else's call lies between, so there is nothing to read.
      if (cursor !== undefined && change === cursor.seen + 1) cursor = { ...cursor, seen: change };
      for (const { settle } of items) for (const { resolve } of settle) resolve();
    } catch (error) {
      for (const { settle } of items) for (const { reject } of settle) reject(error);
      if (closed) return;
      if (!storeFailing || isFinal(error)) log.warn({ err: error }, "presence could not be stored");
      if (isFinal(error)) return;
      storeFailing = true;
      storedAt = performance.now() + retryMs - intervalMs;
      // Stored later all the same, unless there is something newer: nobody sets again what he has set.
      waiting = new Map([...batch.map(([id, item]) => [id, { ...item, settle: [] }] as [string, Waiting]), ...waiting]);
    }
  }

  return {
    async load(room) {
      if (alone && room.kind === "ephemeral") return [];
      // What is put after this is read must be news.
      if (!alone && cursor === undefined) {
        wake(true);
        await polling;
        if (cursor === undefined) throw new Error("the presence of other nodes cannot be read yet");
      }
      return readPresence(db, room);
    },
    store(room, entries) {
      const stored = Promise.all(
        entries.map(
          (entry) =>
            new Promise<void>((resolve, reject) => {
              const id = JSON.stringify([room.kind, documentId(room.key), entry.key]);
              const earlier = waiting.get(id);
              waiting.set(id, { room, entry, settle: [...(earlier?.settle ?? []), { resolve, reject }] });
            }),
        ),
      );
      schedule(nextDelay());
      return stored.then(() => undefined);
    },
    hasOthers: () => others,
    async close() {
      if (closed) return;
      closed = true;
      clearInterval(heartbeat);
      stopListening();
      await polling;
      clearTimeout(timer);
      timer = undefined;
      while (waiting.size > 0 || storing !== undefined) {
        schedule(0);
        await (storing ?? new Promise((resolve) => setTimeout(resolve, 1)));
      }
      if (alone) return;
      await leavePresence(db, nodeId).catch((error: unknown) =>
        log.info({ err: error }, "presence: the other nodes will notice by themselves"),
      );
    },
  };
}
