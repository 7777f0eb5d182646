import { type ZodType, z } from "zod";
import type { Database, Queryable } from "../database/types.js";
import { type TenantCalls, tenantCalls, tenantCallsIn } from "./calls.js";
import { decoded, encoded } from "./json.js";

/** An event in the log of a thread. */
export interface ThreadEvent<Event> {
  /** From 1 on, in commit order, without gaps. */
  readonly number: number;
  /** What identifies it: a database that went back gives its number out again, to another event. */
  readonly mark: number;
  readonly event: Event;
  readonly createdAt: Date;
}

export interface ThreadLogOptions<Event> {
  db: Database;
  tenantId: string;
  /** What an event looks like; any JSON when not given. */
  schema?: ZodType<Event> | undefined;
}

export interface LoadEventsOptions {
  /** At most so many events (1 to 10,000); 1,000 when not given. */
  limit?: number | undefined;
}

/** The logs of a tenant's threads. Every method is a transaction of its own, except on what `in(tx)` returns. */
export interface ThreadLog<Event> {
  /**
   * Appends events (one or more). Out: the number of the last.
   * A lease of somebody else's keeps nobody from appending: who talks to an agent at work must be able to.
   * Errors: PE409 when `fencingToken` is not that of the thread's last lease; PE413; PE422 for an event that is not as the schema says.
   */
  append(threadId: string, events: readonly Event[], options?: { fencingToken?: number | undefined }): Promise<number>;
  /**
   * The events after one, in order; without it from the first that is not archived. `after`: the last event that was loaded (its number
   * and mark), or a bare number, of which nothing tells whether the log has another event there by now.
   * Errors: PE410 when events after it are archived, the log does not reach it, or has another event there: the database went back,
   * or the thread was deleted and made again.
   */
  load(
    threadId: string,
    after?: number | Pick<ThreadEvent<Event>, "number" | "mark">,
    options?: LoadEventsOptions,
  ): Promise<ThreadEvent<Event>[]>;
  /**
   * Takes the events up to a number out of the log. Out: them, to be kept elsewhere. Numbers go on where they were.
   * Errors: PE409 when somebody has a lease on the thread, or the token is not that of the last one; PE422 when the log does not reach
   * that number.
   */
  archive(
    threadId: string,
    upTo: number,
    options?: { fencingToken?: number | undefined },
  ): Promise<ThreadEvent<Event>[]>;
  /** How far the log has been written and archived; zeros when nothing was ever appended. */
  status(threadId: string): Promise<{ lastNumber: number; archivedUntil: number }>;
  /** The same within a transaction of the caller; PE403 for one of another tenant. */
  in(tx: Queryable): ThreadLog<Event>;
}

interface EventRow {
  number: number;
  mark: number;
  event: unknown;
  created_at: Date;
}

/** The append-only logs beside a tenant's threads: what happened, for the state to be made of, or for people to read. */
export function threadLog<Event = unknown>(options: ThreadLogOptions<Event>): ThreadLog<Event> {
  const schema = options.schema ?? (z.unknown() as ZodType<Event>);
  return logWith(schema, tenantCalls(options.db, options.tenantId));
}

function logWith<Event>(schema: ZodType<Event>, calls: TenantCalls): ThreadLog<Event> {
  const write = (event: Event) => JSON.stringify(encoded(schema, event, "event"));
  const read = (row: EventRow): ThreadEvent<Event> => ({
    number: row.number,
    mark: row.mark,
    event: decoded(schema, row.event, `event ${row.number} cannot be read`, { number: row.number }),
    createdAt: row.created_at,
  });
  return {
    append: async (threadId, events, { fencingToken } = {}) =>
      calls.value("append_thread_events", {
        thread_id: threadId,
        events: events.map(write),
        fencing_token: fencingToken,
      }),
    async load(threadId, after, { limit } = {}) {
      const at = typeof after === "number" ? { number: after, mark: undefined } : after;
      const args = { thread_id: threadId, after: at?.number, max_count: limit, after_mark: at?.mark };
      return (await calls.rows<EventRow>("load_thread_events", args)).map(read);
    },
    async archive(threadId, upTo, { fencingToken } = {}) {
      const args = { thread_id: threadId, up_to: upTo, fencing_token: fencingToken };
      return (await calls.rows<EventRow>("archive_thread_events", args)).map(read);
    },
    async status(threadId) {
      const [row] = await calls.rows<{ last_number: number; archived_until: number }>("thread_log", {
        thread_id: threadId,
      });
      return { lastNumber: row?.last_number ?? 0, archivedUntil: row?.archived_until ?? 0 };
    },
    in: (tx) => logWith(schema, tenantCallsIn(tx, calls.tenantId)),
  };
}
