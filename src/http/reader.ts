import { z } from "zod";
import { PerchError } from "../errors.js";
import type { TokenIdentity } from "../identity/tokens.js";
import { createDeadlines, type Due } from "../lib/deadlines.js";
import type { NotificationHub } from "../notifications/hub.js";
import type { Answer } from "./answers.js";
import { type Exchange, goneSignal, rest, takeRoom, waits } from "./exchange.js";
import type { OnBehalf } from "./on-behalf.js";
import { maxPageSize, parsedBody } from "./shapes.js";

const selection = {
  page_size: z.int().min(1).max(maxPageSize).nullish(),
  tables: z.array(z.string()).nullish().describe("only these tables"),
  fields: z
    .record(z.string(), z.array(z.string()))
    .nullish()
    .describe('of tables the fields that are wanted: {"pages": ["title"]}; of the others all'),
};

/** Well under what proxies and clients wait for. */
const maxWaitMs = 25_000;

export const readLogBody = z.strictObject({
  ...selection,
  cursor: z.record(z.string(), z.unknown()).nullish().describe("that of the last answer, or of the snapshot"),
  wait_ms: z
    .int()
    .min(0)
    .max(maxWaitMs)
    .nullish()
    .describe("where there is nothing new: for how long to wait for something; 0 when not given"),
});

export const readLogSnapshotBody = z.strictObject({
  ...selection,
  after: z.string().nullish().describe("next of the page before"),
});

/** What services ask for that read the logs of all spaces. Errors: PE401, PE403, PE410, PE413, PE422. */
export interface ReaderRequests {
  /** `body`: JSON text of `readLogBody`. Out: `waits` where there is nothing new yet, and it is answered later. */
  read(exchange: Exchange, identity: TokenIdentity, body: string): Promise<Answer | typeof waits>;
  /** `body`: JSON text of `readLogSnapshotBody`. Out: JSON text. */
  snapshot(identity: TokenIdentity, body: string): Promise<string>;
  /** Answers those who wait. */
  close(): void;
}

interface ReaderServices {
  readonly onBehalf: OnBehalf;
  readonly notifications: Pick<NotificationHub, "add">;
  readonly settings: {
    /** Between two looks there is at least this much time: what a busy database costs is bounded by its readers, not its writers. */
    readonly streamIntervalMs: number;
  };
  /** What an answer is taken for until it is there. */
  readonly answerBytes: number;
  isDraining(): boolean;
  /** Does more for a request that has waited, and answers it when that comes to an answer. */
  goOn(exchange: Exchange, work: () => Promise<Answer | undefined | typeof waits>): void;
  /** Nobody waits for an answer to a request any more that has waited. */
  finish(exchange: Exchange, answer: undefined): void;
}

/** A service that waits for its log: of its request this is all that is kept. */
interface LogReader extends Due {
  readonly exchange: Exchange;
  readonly identity: TokenIdentity;
  readonly params: unknown[];
  /** As of `performance.now()`, as the others. */
  readonly until: number;
  lookedAt: number;
  /** How many notifications had been heard when it began to look. */
  heard: number;
}

/** How SQL writes an answer without changes, behind which there are none. */
const nothingNew = '"changes": [], "has_more": false}';
/** While it waits; what no notification tells of is found so late. */
const lookMs = 1_000;
/** So much later than it might a service looks, with others. */
const slotMs = 5;

export function createReaderRequests(services: ReaderServices): ReaderRequests {
  const { onBehalf, notifications, settings, answerBytes, isDraining } = services;
  const waiting = new Set<LogReader>();
  const deadlines = createDeadlines<LogReader>(woken, slotMs);
  let heard = 0;

  /** When it may look again, at the soonest. */
  const soonest = ({ lookedAt, until }: LogReader) => Math.min(lookedAt + settings.streamIntervalMs, until);

  function wakeAll(): void {
    heard += 1;
    for (const reader of waiting) if (reader.dueAt > soonest(reader)) deadlines.set(reader, soonest(reader));
  }
  notifications.add({ notified: (one) => one.channel === "perch_changes" && wakeAll(), ready: wakeAll });

  function wait(reader: LogReader): typeof waits {
    const { lookedAt, until } = reader;
    waiting.add(reader);
    rest(reader.exchange, () => left(reader));
    // What was committed while it looked is looked for as soon as may be.
    deadlines.set(reader, reader.heard === heard ? Math.min(lookedAt + lookMs, until) : soonest(reader));
    return waits;
  }

  function woken(reader: LogReader): void {
    waiting.delete(reader);
    services.goOn(reader.exchange, () => look(reader));
  }

  function left(reader: LogReader): void {
    if (!waiting.delete(reader)) return;
    deadlines.remove(reader);
    services.finish(reader.exchange, undefined);
  }

  async function look(reader: LogReader): Promise<Answer | typeof waits> {
    const { exchange, identity, params, until } = reader;
    reader.heard = heard;
    await takeRoom(exchange, answerBytes);
    reader.lookedAt = performance.now();
    const body = await ask(
      identity,
      "perch.read_log(reader => $1, cursor => $2::jsonb, page_size => $3, tables => $4::text[], fields => $5::jsonb)",
      params,
    );
    const isOver = performance.now() >= until || goneSignal(exchange).aborted || isDraining();
    return body.endsWith(nothingNew) && !isOver ? wait(reader) : { status: 200, body };
  }

  /** In: of the parameters the first is the reader. */
  async function ask(identity: TokenIdentity, sql: string, params: unknown[]): Promise<string> {
    // A standby gives no places. What has none when it answers is given one behind all that it knows.
    if (onBehalf.looksElsewhere) {
      await onBehalf.read(identity, (tx) => tx.last("select perch.give_places(reader => $1)", params.slice(0, 1)));
    }
    return onBehalf.look(identity, async (tx) => {
      const [row] = await tx.last<{ answer: string }>(`select ${sql}::text as answer`, params);
      return row?.answer ?? "null";
    });
  }

  return {
    async read(exchange, identity, body) {
      const name = readerOf(identity);
      const { cursor, page_size, tables, fields, wait_ms } = await parsedBody(readLogBody, body, []);
      const params = [name, JSON.stringify(cursor ?? {}), page_size ?? 1_000, tables ?? null, textOf(fields)];
      const until = performance.now() + (wait_ms ?? 0);
      return look({ exchange, identity, params, until, lookedAt: 0, heard, dueAt: 0 });
    },
    async snapshot(identity, body) {
      const reader = readerOf(identity);
      const { after, page_size, tables, fields } = await parsedBody(readLogSnapshotBody, body, []);
      return ask(
        identity,
        "perch.read_log_snapshot(reader => $1, after => $2, page_size => $3, tables => $4::text[], fields => $5::jsonb)",
        [reader, after ?? null, page_size ?? 1_000, tables ?? null, textOf(fields)],
      );
    },
    close() {
      for (const reader of [...waiting]) deadlines.set(reader, 0);
    },
  };
}

const textOf = (value: unknown) => (value === null || value === undefined ? null : JSON.stringify(value));

function readerOf({ reader }: TokenIdentity): string {
  if (reader === undefined) {
    throw new PerchError(
      "PE403",
      "this token reads for its user alone; that of a service has the claim perch_reader, which names a reader that perch.register_reader has made",
    );
  }
  return reader;
}
