import type { Logger } from "pino";
import { type Meaning, meaningOf, sqlStateOf, troubleOf as troubleWith } from "../database/errors.js";
import type { Database } from "../database/types.js";

export interface Readiness {
  /** Asks whether the database answers, was migrated and takes writes. Out: what is wrong, for people; undefined when nothing is. */
  trouble(): Promise<string | undefined>;
  /** Something was committed. */
  wrote(): void;
  /** Something could not be committed; counts when the database is at fault. */
  writeFailed(error: unknown): void;
}

const timeoutMs = 2_000;

/** Full disk, out of memory or connections, failing devices, a server that only reads: reading may go on as if nothing were wrong. */
const takesNoWrites: ReadonlySet<Meaning> = new Set(["full", "broken"]);
/** Then nobody writes here any more, so nobody sees whether it works again: after this long it is tried. */
const distrustMs = 15_000;

/** From here on commits that notify are about to fail, or do. */
const fullQueue = 0.99;
/** Commits that have waited for longer may wait for ever. */
const commitSeconds = 5;

interface State {
  only_reads: boolean;
  notification_queue: number;
  commit_seconds: number | null;
}

function troubleOf({ only_reads, notification_queue, commit_seconds }: State): string | undefined {
  if (only_reads) return "the database takes no writes: it only reads";
  if (notification_queue >= fullQueue) {
    return "the database takes no writes: its queue of notifications is full, since a session that listens does not read";
  }
  if ((commit_seconds ?? 0) < commitSeconds) return undefined;
  return `commits do not end: one has waited ${Math.floor(commit_seconds ?? 0)} s for a synchronous standby`;
}

/**
 * Asks on the connection aside, which nothing else keeps busy. Those who ask at once share one question: however often a node is asked, that is
 * all it is busy with.
 */
export function createReadiness(
  db: Pick<Database, "aside" | "relieveQueue">,
  log: Logger,
  now: () => number = Date.now,
): Readiness {
  let asking: Promise<string | undefined> | undefined;
  let failedAt = Number.NEGATIVE_INFINITY;
  let reason = "";

  async function ask(): Promise<string | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error("no answer in time")), timeoutMs);
    });
    try {
      const [state] = await Promise.race([db.aside.query<State>("select * from perch.server_state()"), late]);
      // Others were refused, perhaps; what they left in the queue may be for this process to pass over.
      if ((state?.notification_queue ?? 0) >= fullQueue) db.relieveQueue?.().catch(unrelieved);
      return state && troubleOf(state);
    } catch (error) {
      log.warn({ err: error }, "not ready: the database does not answer; /readyz is 503 until it does");
      return "the database does not answer";
    } finally {
      clearTimeout(timer);
    }
  }

  function unrelieved(error: unknown): void {
    log.warn({ err: error }, "the queue of notifications is full, and listening anew failed");
  }

  /** Asks, unless somebody does. */
  function askOnce(): Promise<string | undefined> {
    asking ??= ask().finally(() => {
      asking = undefined;
    });
    return asking;
  }

  return {
    trouble() {
      if (now() - failedAt < distrustMs) return Promise.resolve(`the database takes no writes: ${reason}`);
      return askOnce();
    },
    wrote() {
      failedAt = Number.NEGATIVE_INFINITY;
    },
    writeFailed(error) {
      const state = sqlStateOf(error);
      if (state === undefined || !takesNoWrites.has(meaningOf(error))) return;
      failedAt = now();
      reason = troubleWith(error) ?? `error ${state}`;
    },
  };
}
