import type { Queryable } from "../../database/types.js";
import { type CatchUpRequest, type Missed, readMissed } from "./queries.js";

/** A document that may have fallen behind. */
export interface CatchingUp {
  /** Out: from where on it wants to know; undefined when it cannot use an answer now. */
  takeRequest(): CatchUpTask | undefined;
  /** The answer to the request, or the error. */
  settle(task: CatchUpTask, news: Missed | undefined, error: unknown): Promise<void>;
}

export interface CatchUpTask extends CatchUpRequest {
  readonly notifications: readonly number[];
  readonly asking: ((error?: unknown) => void)[];
}

export interface CatchUpBatcher {
  wake(document: CatchingUp): void;
}

/** Documents asked for in one statement. */
const maxDocuments = 500;

/** Reads what others appended: while one statement is under way, further notifications collect, and then go as one over all documents. */
export function createCatchUpBatcher(db: Queryable): CatchUpBatcher {
  const waiting = new Set<CatchingUp>();
  let busy = false;

  async function run(): Promise<void> {
    while (waiting.size > 0) {
      const sent: [CatchingUp, CatchUpTask][] = [];
      for (const document of waiting) {
        if (sent.length === maxDocuments) break;
        waiting.delete(document);
        const task = document.takeRequest();
        if (task) sent.push([document, task]);
      }
      if (sent.length === 0) break;
      let answers: Missed[] = [];
      let failure: unknown;
      try {
        answers = await readMissed(
          db,
          sent.map(([, task]) => task),
        );
      } catch (error) {
        failure = error;
      }
      for (const [index, [document, task]] of sent.entries()) void document.settle(task, answers[index], failure);
    }
    busy = false;
  }

  return {
    wake(document) {
      waiting.add(document);
      if (busy) return;
      busy = true;
      // Whatever else is asked for in this turn of the event loop comes along.
      setImmediate(() => void run());
    },
  };
}
