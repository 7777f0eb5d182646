import type { PerchClient } from "./client.js";
import { PerchError } from "./errors.js";
import type { Cursor, Fields, PulledChange, SnapshotRecord, WantedFields } from "./types.js";
import { pauseMs, sleep } from "./waiting.js";

/** A change as a service reads it, which reads several apps. */
export type LoggedChange<Content = Fields> = PulledChange<Content> & { app_id: string };

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

export interface FollowLogOptions {
  /** Where to go on; a reader without one begins with all records. */
  cursor?: Cursor | undefined;
  /** Changes in one event, at most, but for the rest of a transaction. */
  pageSize?: number | undefined;
  tables?: readonly string[] | undefined;
  fields?: WantedFields | undefined;
  /** How long one request waits for news (20 s; the time that the client gives an attempt has to be longer). */
  waitMs?: number | undefined;
  /** Ends the iteration, without an error, at the latest when the request that is under way has its answer. */
  signal?: AbortSignal | undefined;
  /** Told of what passes, while it goes on by itself. */
  onError?: ((error: PerchError) => void) | undefined;
}

const firstPauseMs = 250;
const longestPauseMs = 30_000;

/**
 * For services (search indexes, webhooks) whose token has the claim `perch_reader`: all records of their apps in all spaces, and then what is committed,
 * in one order, each change once, for as long as it is iterated. Errors: what does not pass (PE401, PE403, PE422).
 */
export async function* followLog<Content = Fields>(
  client: Pick<PerchClient, "request">,
  options: FollowLogOptions = {},
): AsyncGenerator<FollowLogEvent<Content>, void, undefined> {
  const { signal, pageSize, tables, fields, waitMs = 20_000 } = options;
  const selection = { page_size: pageSize ?? null, tables: tables ?? null, fields: fields ?? null };
  let cursor = options.cursor ?? {};
  let after: string | null = null;
  let isResyncing = false;
  for (let failures = 0; !signal?.aborted; ) {
    try {
      if (isResyncing) {
        const page = (await client.request("POST", "/v1/log/snapshot", {
          ...selection,
          after,
        })) as SnapshotPage<Content>;
        const { space_id: spaceId, app_id: appId, records, next } = page;
        const last = next === null;
        if (last || records.length > 0)
          yield { type: "snapshot", spaceId, appId, records, last, cursor: last ? page.cursor : null };
        after = next;
        isResyncing = !last;
        if (last) cursor = page.cursor;
      } else {
        const body = { ...selection, cursor, wait_ms: waitMs };
        const page = (await client.request("POST", "/v1/log", body)) as LogPage<Content>;
        cursor = page.cursor;
        if (page.changes.length > 0) yield { type: "changes", changes: page.changes, cursor, hasMore: page.has_more };
      }
      failures = 0;
    } catch (error) {
      if (!(error instanceof PerchError)) throw error;
      if (error.code === "PE410") {
        after = null;
        isResyncing = true;
        yield { type: "resync" };
        continue;
      }
      if (!error.isPassing) throw error;
      options.onError?.(error);
      await sleep(pauseMs(failures, firstPauseMs, longestPauseMs), signal);
      failures += 1;
    }
  }
}

interface LogPage<Content> {
  changes: LoggedChange<Content>[];
  cursor: Cursor;
  has_more: boolean;
}

interface SnapshotPage<Content> {
  space_id: string | null;
  app_id: string | null;
  records: SnapshotRecord<Content>[];
  cursor: Cursor;
  next: string | null;
}
