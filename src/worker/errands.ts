import { isPassing } from "../documents/live/failures.js";
import type { WorkerLog } from "./worker.js";

export interface Errands {
  /**
   * Runs `work` for a document, unless some is under way for it; an error is logged, and the document then rests for a while.
   * Out: whether it was done without an error.
   */
  run(id: string, work: () => Promise<void>): Promise<boolean>;
  /** Whether something is under way, or waits for its turn, for a document. */
  working(id: string): boolean;
  /** Whether a document rests after an error. */
  resting(id: string): boolean;
  /** How many documents are at work, and how many are at rest or were when last seen. */
  counts(): { working: number; resting: number };
  /** Resolves when nothing is under way. */
  settled(): Promise<void>;
}

const firstRestMs = 500;
const longestRestMs = 60_000;
/** When it was not the document's fault (the database was away, somebody held a lock): how late it may be once that is over. */
const longestWaitMs = 5_000;

/**
 * Work for many documents, a few at a time. One document's error never stops the others: it rests, each time twice as long, and is
 * then tried again, since what is to be done for it stays in the tables.
 */
export function createErrands(what: string, concurrency: number, log: WorkerLog): Errands {
  const working = new Map<string, Promise<boolean>>();
  const resting = new Map<string, { until: number; failures: number }>();
  const queue: (() => void)[] = [];
  let running = 0;

  async function turn(): Promise<void> {
    if (running >= concurrency) await new Promise<void>((begin) => queue.push(begin));
    else running++;
  }

  function done(): void {
    const next = queue.shift();
    if (next) next();
    else running--;
  }

  async function attempt(id: string, work: () => Promise<void>): Promise<boolean> {
    await turn();
    try {
      await work();
      resting.delete(id);
      return true;
    } catch (error) {
      const failures = (resting.get(id)?.failures ?? 0) + 1;
      const longest = isPassing(error) ? longestWaitMs : longestRestMs;
      const rest = Math.min(longest, firstRestMs * 2 ** (failures - 1));
      resting.set(id, { until: Date.now() + rest, failures });
      log.warn({ err: error, document: id, failures, rest }, `${what} failed; it will be tried again`);
      return false;
    } finally {
      done();
      working.delete(id);
    }
  }

  return {
    run(id, work) {
      const before = working.get(id);
      if (before) return before;
      const attempted = attempt(id, work);
      working.set(id, attempted);
      return attempted;
    },
    working: (id) => working.has(id),
    resting: (id) => (resting.get(id)?.until ?? 0) > Date.now(),
    counts: () => ({ working: working.size, resting: resting.size }),
    async settled() {
      while (working.size > 0) await Promise.all(working.values());
    },
  };
}
