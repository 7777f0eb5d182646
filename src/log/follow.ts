import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { isPassing } from "../database/errors.js";
import type { Database } from "../database/types.js";
import { PerchError } from "../errors.js";
import { type Context, withContext } from "../identity/index.js";
import { backOff } from "../lib/back-off.js";
import { shareHub } from "../notifications/hub.js";
import { type ContentOptions, type PullOptions, pull, snapshotRecords } from "./calls.js";
import { createPullTrigger, type Positions } from "./pull-trigger.js";
import {
  type Cursor,
  type Fields,
  type LostSpace,
  lostSpaceSchema,
  type PulledChange,
  type SnapshotRecord,
} from "./schemas.js";

export interface FollowOptions<Content = Fields> extends PullOptions, ContentOptions<Content> {
  /** On whose behalf; each page is read in a transaction of its own. */
  context: Context;
  /** How long without a notification until it looks all the same; 30 s when not given. */
  pollMs?: number | undefined;
  /** Ends the iteration, without an error. */
  signal?: AbortSignal | undefined;
  /** Told of passing faults (the database was away); it goes on by itself. */
  onError?: ((error: unknown) => void) | undefined;
}

export type FollowEvent<Content = Fields> =
  /** What happened next. Keep `cursor` with what you made of the changes, in one transaction of yours. */
  | { type: "changes"; changes: PulledChange<Content>[]; revokedSpaceIds: string[]; cursor: Cursor; hasMore: boolean }
  /** The log does not go on from the cursor in these spaces: forget what you hold of them, their snapshots follow. */
  | { type: "resync"; spaces: LostSpace[] }
  /** A page of a space's live records. `cursor` comes with the last page: only then is the snapshot whole. */
  | { type: "snapshot"; spaceId: string; records: SnapshotRecord<Content>[]; last: boolean; cursor: Cursor | null };

/**
 * An iterator to use once, with `for await`; leaving the loop, `return()`, the signal and the end of an `await using` all end it at once.
 * Until then it keeps the process alive.
 */
export type Following<Content = Fields> = Iterating<FollowEvent<Content>>;

export interface Iterating<Event> extends AsyncIterableIterator<Event, undefined, undefined> {
  [Symbol.asyncDispose](): Promise<void>;
}

/** What stands behind the two is the database's own affair. */
const positionSchema = z.tuple([z.number(), z.string().nullable()], z.unknown());

/** Where a cursor stands, by space; of one that says nothing, nowhere. */
export function positionsOf({ spaces }: Cursor): Positions {
  const positions = new Map<string, { seq: number; mark: string | null }>();
  for (const [space, position] of Object.entries(spaces ?? {})) {
    const { data } = positionSchema.safeParse(position);
    if (data !== undefined) positions.set(space, { seq: data[0], mark: data[1] });
  }
  return positions;
}

/**
 * Follows the log: everything after the cursor, then what is committed, as it is committed, in order, each change once, for as
 * long as it is iterated. Between pages it waits for a notification of the database or, at the latest, `pollMs`. A fault that passes (the
 * database restarts) delays it; others are thrown:
 * PE401, PE403, PE422, and errors of SQL.
 */
export function follow<Content = Fields>(db: Database, options: FollowOptions<Content>): Following<Content> {
  return iterator(options.signal, (signal) => run(db, options, signal));
}

/** What a generator yields, until the signal that it is given comes: with `outer`, or when the loop is left, at whatever it waits for. */
export function iterator<Event>(
  outer: AbortSignal | undefined,
  generate: (signal: AbortSignal) => AsyncGenerator<Event, undefined, undefined>,
): Iterating<Event> {
  const stop = new AbortController();
  const events = generate(outer === undefined ? stop.signal : AbortSignal.any([stop.signal, outer]));
  return {
    next: () => events.next(),
    // A generator only hears of return() when it is not waiting for something itself.
    return() {
      stop.abort();
      return events.return(undefined);
    },
    throw(error) {
      stop.abort();
      return events.throw(error);
    },
    [Symbol.asyncIterator]() {
      return this;
    },
    async [Symbol.asyncDispose]() {
      await this.return?.();
    },
  };
}

async function* run<Content>(
  db: Database,
  options: FollowOptions<Content>,
  signal: AbortSignal,
): AsyncGenerator<FollowEvent<Content>, undefined, undefined> {
  const trigger = createPullTrigger();
  const patiently = <T>(work: () => Promise<T>) => throughFaults(work, signal, options.onError);
  const { hub, release } = shareHub(db);
  const stopListening = hub.add({
    notified: (one) => one.channel === "perch_changes" && trigger.notified(one.spaceId, one.seq),
    ready: trigger.wake,
  });
  try {
    // First listen, then read: what is committed in between notifies.
    await patiently(hub.start);
    let cursor = options.cursor ?? {};
    while (!signal.aborted) {
      const page = await patiently(() => pullPage(db, options, cursor));
      if (page === undefined || signal.aborted) return;
      if ("lost" in page) {
        yield { type: "resync", spaces: page.lost };
        for (const { space_id } of page.lost) cursor = yield* resync(db, options, space_id, cursor, signal);
        continue;
      }
      const { changes, cursor: next, has_more: hasMore, revoked_space_ids: revokedSpaceIds } = page;
      cursor = next;
      if (changes.length > 0 || revokedSpaceIds.length > 0)
        yield { type: "changes", changes, revokedSpaceIds, cursor, hasMore };
      if (hasMore) continue;
      trigger.reached(positionsOf(cursor));
      await trigger.wait(options.pollMs ?? 30_000, signal);
    }
  } finally {
    trigger.close();
    stopListening();
    await release();
  }
}

async function pullPage<Content>(db: Database, options: FollowOptions<Content>, cursor: Cursor) {
  try {
    return await withContext(db, options.context, (tx) => pull(tx, { ...options, cursor }));
  } catch (error) {
    const lost = lostSpaces(error);
    if (lost === undefined) throw error;
    return { lost };
  }
}

function lostSpaces(error: unknown): LostSpace[] | undefined {
  if (!(error instanceof PerchError) || error.code !== "PE410") return undefined;
  return z.object({ spaces: z.array(lostSpaceSchema).min(1) }).safeParse(error.detail).data?.spaces;
}

/** Yields the snapshot of one space. Out: the cursor to pull on from; the old one when the snapshot has to be begun again. */
async function* resync<Content>(
  db: Database,
  options: FollowOptions<Content>,
  spaceId: string,
  cursor: Cursor,
  signal: AbortSignal,
): AsyncGenerator<FollowEvent<Content>, Cursor, undefined> {
  const { appId, pageSize, context, tables, schemaVersions, fields, parse } = options;
  let after: string | null = null;
  while (!signal.aborted) {
    const page = await throughFaults(
      () =>
        withContext(db, context, (tx) =>
          snapshotRecords(tx, { appId, spaceId, after, pageSize, cursor, tables, schemaVersions, fields, parse }),
        ).catch((error: unknown) => {
          // Restored between two pages, or the user was put out of the space: pulling again tells which.
          if (error instanceof PerchError && (error.code === "PE410" || error.code === "PE403"))
            return "again" as const;
          throw error;
        }),
      signal,
      options.onError,
    );
    if (page === undefined || page === "again" || signal.aborted) return cursor;
    const last = page.next === null;
    yield { type: "snapshot", spaceId, records: page.records, last, cursor: last ? page.cursor : null };
    if (last) return page.cursor;
    after = page.next;
  }
  return cursor;
}

/** Tries until it succeeds, with pauses from 0.1 to 5 s. Out: undefined when the signal came first. Throws what does not pass. */
export async function throughFaults<T>(
  work: () => Promise<T>,
  signal: AbortSignal,
  onError: ((error: unknown) => void) | undefined,
): Promise<T | undefined> {
  for (let attempt = 0; !signal.aborted; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!isPassing(error)) throw error;
      onError?.(error);
      await sleep(backOff(attempt, 100, 5_000), undefined, { signal }).catch(() => undefined);
    }
  }
  return undefined;
}
