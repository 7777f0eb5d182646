import { z } from "zod";
import { PerchError } from "../errors.js";
import type { TokenIdentity } from "../identity/tokens.js";
import type { NotificationHub } from "../notifications/hub.js";
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

/** What services ask for that read the logs of all spaces. The answers are JSON text. Errors: PE401, PE403, PE410, PE413, PE422. */
export interface ReaderRequests {
  /**
   * `body`: JSON text of `readLogBody`; `gone`: says that nobody waits for the answer any more; `room`: for what may be a long answer, which is not held
   * while there is nothing new.
   */
  read(identity: TokenIdentity, body: string, gone: AbortSignal, room: RoomToAnswer): Promise<string>;
  /** `body`: JSON text of `readLogSnapshotBody`. */
  snapshot(identity: TokenIdentity, body: string): Promise<string>;
}

interface RoomToAnswer {
  take(): Promise<void>;
  rest(): void;
}

interface ReaderServices {
  readonly onBehalf: OnBehalf;
  readonly notifications: Pick<NotificationHub, "add">;
  readonly settings: {
    /** Between two looks there is at least this much time: what a busy database costs is bounded by its readers, not its writers. */
    readonly streamIntervalMs: number;
  };
  isDraining(): boolean;
}

/** How SQL writes an answer without changes, behind which there are none. */
const nothingNew = '"changes": [], "has_more": false}';
/** While it waits; what no notification tells of is found so late. */
const lookMs = 1_000;

export function createReaderRequests({
  onBehalf,
  notifications,
  settings,
  isDraining,
}: ReaderServices): ReaderRequests {
  const waiting = new Set<() => void>();
  const wakeAll = () => {
    for (const wake of [...waiting]) wake();
  };
  notifications.add({ notified: (one) => one.channel === "perch_changes" && wakeAll(), ready: wakeAll });

  /** Resolves after a while, or when nobody waits for the answer any more; where it listens, with the next notification. */
  const pause = (ms: number, gone: AbortSignal, listens: boolean) =>
    new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        waiting.delete(done);
        gone.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, Math.max(0, ms));
      if (listens) waiting.add(done);
      gone.addEventListener("abort", done);
    });

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
    async read(identity, body, gone, room) {
      const reader = readerOf(identity);
      const { cursor, page_size, tables, fields, wait_ms } = await parsedBody(readLogBody, body, []);
      const params = [reader, JSON.stringify(cursor ?? {}), page_size ?? 1_000, tables ?? null, textOf(fields)];
      const until = performance.now() + (wait_ms ?? 0);
      for (;;) {
        // It listens from now on: what is committed while it looks wakes it at once.
        const notified = pause(Math.min(lookMs, until - performance.now()), gone, true);
        await room.take();
        const lookedAt = performance.now();
        const answer = await ask(
          identity,
          "perch.read_log(reader => $1, cursor => $2::jsonb, page_size => $3, tables => $4::text[], fields => $5::jsonb)",
          params,
        );
        const left = until - performance.now();
        if (!answer.endsWith(nothingNew) || left <= 0 || gone.aborted || isDraining()) return answer;
        room.rest();
        await notified;
        await pause(Math.min(lookedAt + settings.streamIntervalMs, until) - performance.now(), gone, false);
      }
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
