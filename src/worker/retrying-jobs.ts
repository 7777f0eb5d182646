import type { Contention } from "../database/contention.js";
import { isPassing } from "../database/errors.js";
import { type DocumentKey, documentId } from "../documents/key.js";
import { EngineBusy } from "../engine/engine.js";
import { backOff } from "../lib/back-off.js";
import { createLanes } from "../lib/lanes.js";
import type { WorkerLog } from "./log.js";

export interface RetryingJobs {
  /**
   * Runs `work` for a document, unless some is under way for it; an error is logged, and the document then rests for a while. It is to wait
   * for no lock longer than it is told. Out: whether it was done without an error.
   */
  run(key: DocumentKey, work: (lockTimeoutMs: number) => Promise<void>): Promise<boolean>;
  /** Whether something is under way, or waits for its turn, for a document. */
  working(id: string): boolean;
  /** Whether a document rests after an error. */
  resting(id: string): boolean;
  /**
   * How many documents are at work, waiting ones included; how many of these wait for what others hold locked; and how many are at rest or
   * were when last seen.
   */
  counts(): { working: number; held: number; resting: number };
  /** Gives up what waits for others; resolves when nothing is under way. */
  settled(): Promise<void>;
}

const firstRestMs = 500;
const longestRestMs = 60_000;
/** When it was not the document's fault (the database was away): how late it may be once that is over. */
const longestWaitMs = 5_000;

export interface RetryingJobsOptions {
  readonly what: string;
  /** How many at a time. One space may have all but one of these. */
  readonly concurrency: number;
  readonly log: WorkerLog;
  readonly contention: Contention;
  /** What of a document others may hold locked for long. */
  takes(key: DocumentKey): string;
}

/**
 * Work for many documents, a few at a time. One document's error never stops the others: it rests, each time twice as long, and is
 * then tried again, since what is to be done for it stays in the tables. What others hold locked is waited for apart (see Contention), so
 * that it keeps no place from those that can go on, and is not given up before it is free.
 */
export function createRetryingJobs({ what, concurrency, log, contention, takes }: RetryingJobsOptions): RetryingJobs {
  const working = new Map<string, Promise<boolean>>();
  const resting = new Map<string, { until: number; failures: number }>();
  const { jobs } = createLanes(concurrency, { jobs: { perOwner: Math.max(1, concurrency - 1) } });
  let atWork = 0;
  let closing = false;

  async function attempt(key: DocumentKey, id: string, work: (lockTimeoutMs: number) => Promise<void>) {
    try {
      await contention.run({
        names: [takes(key)],
        owner: takes(key),
        enter: (inside) => {
          atWork++;
          return jobs.run(key.spaceId, () => inside(undefined)).finally(() => atWork--);
        },
        attempt: work,
        isOver: () => closing,
      });
      resting.delete(id);
      return true;
    } catch (error) {
      const failures = (resting.get(id)?.failures ?? 0) + 1;
      const longest = isPassing(error) || error instanceof EngineBusy ? longestWaitMs : longestRestMs;
      const rest = backOff(failures - 1, firstRestMs, longest);
      resting.set(id, { until: Date.now() + rest, failures });
      log.warn({ err: error, document: id, failures, rest }, `${what} failed; it will be tried again`);
      return false;
    } finally {
      working.delete(id);
    }
  }

  return {
    run(key, work) {
      const id = documentId(key);
      const before = working.get(id);
      if (before) return before;
      const attempted = attempt(key, id, work);
      working.set(id, attempted);
      return attempted;
    },
    working: (id) => working.has(id),
    resting: (id) => (resting.get(id)?.until ?? 0) > Date.now(),
    counts() {
      // What is not tried again when its rest is over was deleted, or done by others.
      const before = Date.now() - longestRestMs;
      for (const [id, { until }] of resting) if (until < before && !working.has(id)) resting.delete(id);
      return { working: working.size, held: Math.max(0, working.size - atWork), resting: resting.size };
    },
    async settled() {
      closing = true;
      while (working.size > 0) await Promise.all(working.values());
    },
  };
}
