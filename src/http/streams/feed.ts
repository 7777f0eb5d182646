import type { Logger } from "pino";
import type { Database } from "../../database/types.js";
import { type Identity, listsSpaces, personalSpaceId } from "../../identity/identity.js";
import type { Positions } from "../../log/pull-trigger.js";
import type { NotificationHub } from "../../notifications/hub.js";

/** A reader of the log, as the feed knows it. */
export interface StreamReader {
  readonly identity: Identity;
  /** What it has reached in each space that it reads; undefined until its first page. */
  positions(): Positions | undefined;
  /** So far has the log of a space come. */
  heard(spaceId: string, seq: number): void;
  /** The spaces that it may read have changed, or the log is another than it was. */
  wake(): void;
}

export interface Feed {
  add(reader: StreamReader): void;
  /** What the reader reads may have changed. `since` is what `notifications()` was before it read. */
  reached(reader: StreamReader, since: number): void;
  /** How many notifications have been heard. */
  notifications(): number;
  remove(reader: StreamReader): void;
  /** Polls the tables, for all readers at once. To be called often; it polls when it is time. */
  tick(now: number): void;
  close(): void;
}

export interface FeedOptions {
  readonly db: Database;
  readonly notifications: Pick<NotificationHub, "add">;
  readonly log: Logger;
  /** How often it polls whether a notification was lost, or a membership has changed. */
  readonly pollMs: number;
}

/** Rows of one statement. */
const chunkSize = 5_000;

/**
 * Wakes those of many readers whom a change concerns. A notification wakes the readers of its space and nobody else. Notifications may be lost, and
 * memberships, roles and the rules of tables change without a number; so every `pollMs` a few statements ask for all readers together: how far the log has come in
 * the spaces that anybody reads, and by which entry, and which spaces each user is in, and as what. No reader polls by itself.
 *
 * Why nothing is missed: a reader is entered under its spaces when a page has brought it to the end of the log. What is committed in
 * them later notifies, and what was notified since that page was asked for, before the reader was entered, wakes it once more (`since`). What
 * was not notified at all is found by the next poll, which compares with the reader's own positions.
 */
export function createFeed({ db, notifications, log, pollMs }: FeedOptions): Feed {
  const readers = new Set<StreamReader>();
  /** By space; what a reader is entered under is in `entered`. */
  const bySpace = new Map<string, Set<StreamReader>>();
  const entered = new Map<StreamReader, ReadonlySet<string>>();
  /** Under which rules, and with which roles, each was woken last; nobody looks where there are no rules. */
  const rights = new WeakMap<StreamReader, string>();
  let count = 0;
  let stopListening: (() => void) | undefined;
  let pollAt = 0;
  let polling: Promise<void> | undefined;
  let failing = false;

  function notified(spaceId: string, seq: number): void {
    count += 1;
    for (const reader of bySpace.get(spaceId) ?? []) reader.heard(spaceId, seq);
  }

  /** Out: whether it reads other spaces than before. */
  function enter(reader: StreamReader, spaces: ReadonlySet<string>): boolean {
    const before = entered.get(reader);
    if (before !== undefined && before.size === spaces.size && [...spaces].every((space) => before.has(space))) {
      return false;
    }
    for (const space of before ?? []) {
      if (spaces.has(space)) continue;
      const others = bySpace.get(space);
      others?.delete(reader);
      if (others?.size === 0) bySpace.delete(space);
    }
    for (const space of spaces) {
      const others = bySpace.get(space);
      if (others === undefined) bySpace.set(space, new Set([reader]));
      else others.add(reader);
    }
    entered.set(reader, spaces);
    return true;
  }

  async function poll(): Promise<void> {
    try {
      await pollMembers();
      await pollLogs();
      if (failing) log.info("streams go on: looking for new entries of the log works again");
      failing = false;
    } catch (error) {
      if (!failing)
        log.warn({ err: error }, "streams wait: looking for new entries of the log failed; it is tried again");
      failing = true;
    }
  }

  async function pollLogs(): Promise<void> {
    for (const spaces of chunks([...bySpace.keys()])) {
      const heads = await db.query<{ space_id: string; seq: number; mark: string | null }>(
        "select h.space_id, h.seq, h.mark from perch.log_heads(space_ids => $1::text[]) h",
        [spaces],
      );
      for (const { space_id: spaceId, seq, mark } of heads) {
        for (const reader of bySpace.get(spaceId) ?? []) {
          const position = reader.positions()?.get(spaceId);
          const isBehindIt = position !== undefined && position.seq > seq;
          const isAnother = position?.seq === seq && mark !== null && position.mark !== mark;
          // The database went back: the reader's own pull says so.
          if (isBehindIt || isAnother) reader.wake();
          else reader.heard(spaceId, seq);
        }
      }
    }
  }

  async function pollMembers(): Promise<void> {
    const [rules] = await db.query<{ mark: string | null }>("select perch.every_rules_mark() as mark");
    const mark = rules?.mark ?? null;
    const byUser = new Map<string, StreamReader[]>();
    for (const reader of readers) {
      const { userId } = reader.identity;
      if (listsSpaces(reader.identity) && mark === null) continue;
      const others = byUser.get(userId);
      if (others === undefined) byUser.set(userId, [reader]);
      else others.push(reader);
    }
    for (const users of chunks([...byUser.keys()])) {
      const rows = await db.query<{ user_id: string; space_ids: string[]; roles: string[] }>(
        "select * from perch.spaces_of_users(user_ids => $1)",
        [users],
      );
      const spacesOf = new Map(rows.map(({ user_id, space_ids }) => [user_id, space_ids]));
      const rolesOf = new Map(
        rows.map(({ user_id, space_ids, roles }) => [user_id, JSON.stringify([space_ids, roles])]),
      );
      for (const user of users) {
        const spaces = new Set(spacesOf.get(user)).add(personalSpaceId(user));
        for (const reader of byUser.get(user) ?? []) {
          const positions = reader.positions();
          if (positions === undefined) continue;
          const now = `${mark} ${rolesOf.get(user)}`;
          if (mark !== null && rights.get(reader) !== now) {
            // Its pull finds out whether it has to begin anew.
            rights.set(reader, now);
            reader.wake();
          }
          if (listsSpaces(reader.identity)) continue;
          if (positions.size !== spaces.size || [...positions.keys()].some((space) => !spaces.has(space)))
            reader.wake();
        }
      }
    }
  }

  return {
    add(reader) {
      readers.add(reader);
      stopListening ??= notifications.add({
        notified: (one) => one.channel === "perch_changes" && notified(one.spaceId, one.seq),
        ready() {
          pollAt = 0;
        },
      });
    },
    reached(reader, since) {
      if (!readers.has(reader)) return;
      // It was not entered yet under a space that may have been notified while it read.
      if (enter(reader, new Set(reader.positions()?.keys())) && since !== count) reader.wake();
    },
    notifications: () => count,
    remove(reader) {
      enter(reader, new Set());
      entered.delete(reader);
      readers.delete(reader);
    },
    tick(now) {
      if (now < pollAt || readers.size === 0 || polling !== undefined) return;
      pollAt = now + pollMs;
      polling = poll().finally(() => {
        polling = undefined;
      });
    },
    close() {
      stopListening?.();
      stopListening = undefined;
    },
  };
}

function* chunks(all: readonly string[]): Iterable<readonly string[]> {
  for (let start = 0; start < all.length; start += chunkSize) yield all.slice(start, start + chunkSize);
}
