import type { Database, Queryable } from "../database/types.js";
import { PerchError } from "../errors.js";
import { shareHub } from "../notifications/hub.js";
import { answerOf, type ContentOptions, jsonOrNull, type WantedFields } from "./calls.js";
import { type Iterating, iterator, throughFaults } from "./follow.js";
import { createPullTrigger } from "./pull-trigger.js";
import {
  type Cursor,
  type Fields,
  type LogAnswer,
  type LoggedChange,
  type LogSnapshotAnswer,
  logAnswerSchema,
  logSnapshotAnswerSchema,
  type SnapshotRecord,
} from "./schemas.js";

interface ReaderOptions {
  /** As whom a DBA has registered the service (`perch.register_reader`). */
  reader: string;
  pageSize?: number | undefined;
  /** Only these tables. */
  tables?: readonly string[] | undefined;
  fields?: WantedFields | undefined;
}

export interface ReadLogOptions extends ReaderOptions {
  /** The cursor of the last answer, or of the snapshot that every reader begins with. */
  cursor?: Cursor | undefined;
}

const selectionOf = ({ pageSize, tables, fields }: ReaderOptions) => [
  pageSize ?? 1000,
  tables ?? null,
  jsonOrNull(fields),
];

/**
 * For services (search indexes, webhooks): the changes of their apps in all spaces after a cursor, in one order. Call it as the login that may, in no
 * user's name. Read on at once while `has_more`. Errors: PE403 when the reader is not registered; PE410: take `readLogSnapshot`; PE422.
 */
export function readLog<Content = Fields>(
  db: Queryable,
  options: ReadLogOptions & ContentOptions<Content>,
): Promise<LogAnswer<Content>> {
  const call = `perch.read_log(reader => $1, cursor => $2::jsonb, page_size => $3, tables => $4::text[], fields => $5::jsonb)::text`;
  const params = [options.reader, JSON.stringify(options.cursor ?? {}), ...selectionOf(options)];
  return answerOf(db, call, params, "changes", logAnswerSchema, options.parse);
}

export interface ReadLogSnapshotOptions extends ReaderOptions {
  /** `next` of the page before; the first page when not given. */
  after?: string | null | undefined;
}

/**
 * The live records of a reader's apps in all spaces, each page of one space and app, and a cursor from which `readLog` misses nothing: go on until
 * `next` is null. Errors: PE403; PE410 (begin again); PE422.
 */
export function readLogSnapshot<Content = Fields>(
  db: Queryable,
  options: ReadLogSnapshotOptions & ContentOptions<Content>,
): Promise<LogSnapshotAnswer<Content>> {
  const call = `perch.read_log_snapshot(reader => $1, after => $2, page_size => $3, tables => $4::text[], fields => $5::jsonb)::text`;
  const params = [options.reader, options.after ?? null, ...selectionOf(options)];
  return answerOf(db, call, params, "records", logSnapshotAnswerSchema, options.parse);
}

export interface FollowLogOptions<Content = Fields> extends ReadLogOptions, ContentOptions<Content> {
  /** How long without a notification until it looks all the same; 30 s when not given. */
  pollMs?: number | undefined;
  /** Ends the iteration, without an error. */
  signal?: AbortSignal | undefined;
  /** Told of passing faults (the database was away); it goes on by itself. */
  onError?: ((error: unknown) => void) | undefined;
}

export type FollowLogEvent<Content = Fields> =
  /** What happened next, over all spaces. Keep `cursor` with what you made of the changes, in one transaction of yours. */
  | { type: "changes"; changes: LoggedChange<Content>[]; cursor: Cursor; hasMore: boolean }
  /** There is no going on from the cursor: all records follow. What you hold and is not among them by the end was deleted. */
  | { type: "resync" }
  /** Live records of a space and an app. `cursor` comes with the last page: only then is the snapshot whole. */
  | {
      type: "snapshot";
      spaceId: string | null;
      appId: string | null;
      records: SnapshotRecord<Content>[];
      last: boolean;
      cursor: Cursor | null;
    };

/**
 * Follows the log of all spaces: without a cursor begins with all records, then gives what is committed, as it is committed, each change once. Through
 * restarts of the database, and through a resync. Errors: PE403, PE422, and errors of SQL.
 */
export function followLog<Content = Fields>(
  db: Database,
  options: FollowLogOptions<Content>,
): Iterating<FollowLogEvent<Content>> {
  return iterator(options.signal, (signal) => run(db, options, signal));
}

async function* run<Content>(
  db: Database,
  options: FollowLogOptions<Content>,
  signal: AbortSignal,
): AsyncGenerator<FollowLogEvent<Content>, undefined, undefined> {
  const trigger = createPullTrigger();
  const patiently = <T>(work: () => Promise<T>) => throughFaults(work, signal, options.onError);
  const { hub, release } = shareHub(db);
  const stopListening = hub.add({
    notified: (one) => one.channel === "perch_changes" && trigger.wake(),
    ready: trigger.wake,
  });
  try {
    await patiently(hub.start);
    let cursor = options.cursor ?? {};
    while (!signal.aborted) {
      const page = await patiently(() => readLog(db, { ...options, cursor }).catch(lostOr));
      if (page === undefined || signal.aborted) return;
      if (page === "lost") {
        yield { type: "resync" };
        cursor = yield* resync(db, options, cursor, signal);
        continue;
      }
      cursor = page.cursor;
      if (page.changes.length > 0) yield { type: "changes", changes: page.changes, cursor, hasMore: page.has_more };
      if (!page.has_more) await trigger.wait(options.pollMs ?? 30_000, signal);
    }
  } finally {
    trigger.close();
    stopListening();
    await release();
  }
}

function lostOr(error: unknown): "lost" {
  if (error instanceof PerchError && error.code === "PE410") return "lost";
  throw error;
}

/** Yields all records. Out: the cursor to read on from; the old one when it has to be begun again. */
async function* resync<Content>(
  db: Database,
  options: FollowLogOptions<Content>,
  cursor: Cursor,
  signal: AbortSignal,
): AsyncGenerator<FollowLogEvent<Content>, Cursor, undefined> {
  let after: string | null = null;
  while (!signal.aborted) {
    const page: LogSnapshotAnswer<Content> | "lost" | undefined = await throughFaults(
      () => readLogSnapshot(db, { ...options, after }).catch(lostOr),
      signal,
      options.onError,
    );
    if (page === undefined || page === "lost" || signal.aborted) return cursor;
    const { space_id: spaceId, app_id: appId, records, next } = page;
    const last = next === null;
    if (last || records.length > 0)
      yield { type: "snapshot", spaceId, appId, records, last, cursor: last ? page.cursor : null };
    if (last) return page.cursor;
    after = next;
  }
  return cursor;
}
