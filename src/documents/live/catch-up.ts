import type { Queryable } from "../../database/types.js";
import { fallBehind, type OpenDocument } from "./open-document.js";
import { type CatchUpRequest, type Missed, readMissed } from "./queries.js";
import { mayCatchUp } from "./states.js";

export type Asking = (error?: unknown) => void;

/** What others appended to one document, asked for by notifications and by `refresh`. */
export interface CatchUp {
  /** Whether anybody wants to know. */
  wanted(): boolean;
  ask(asking: Asking): void;
  /** An append's transaction, or a load, answers the same question. */
  takeAsking(): Asking[];
  giveAsking(asking: readonly Asking[]): void;
  /** Begins one. Out: from where on it wants to know; undefined when it cannot use an answer now. */
  begin(): CatchUpTask | undefined;
  /** The answer, or the error. */
  end(task: CatchUpTask, missed: Missed | undefined, error: unknown): Promise<void>;
  /** Moves the document to what was read at its position. */
  take(missed: Missed): Promise<void>;
}

interface CatchUpTask extends CatchUpRequest {
  readonly notifications: readonly number[];
  readonly asking: readonly Asking[];
}

export function createCatchUp(open: OpenDocument): CatchUp {
  const { key, replica, subscribers, notifications } = open;
  let asking: Asking[] = [];

  const wanted = () => asking.length > 0 || notifications.pending();

  function takeAsking(): Asking[] {
    const taken = asking;
    asking = [];
    return taken;
  }

  function giveAsking(given: readonly Asking[]): void {
    asking = [...given, ...asking];
  }

  async function take(missed: Missed): Promise<void> {
    // Another incarnation, or an earlier state of the database, or so far behind that the tail cannot tell. The load that follows tells which.
    if (!missed.leadsOn) return fallBehind(open);
    const updates = missed.updates.map((update) => update.payload);
    const last = missed.updates.at(-1);
    if (!last) return;
    await replica.follow(updates);
    for (const { seq } of missed.updates) notifications.saw(seq);
    subscribers.deliver({ updates, seq: last.seq, origin: undefined });
    open.at = missed.head;
  }

  return {
    wanted,
    ask(asked) {
      asking.push(asked);
      open.tell({ is: "waits" });
    },
    takeAsking,
    giveAsking,
    begin() {
      if (!mayCatchUp(open.state, open.waits())) return undefined;
      open.tell({ is: "catch-up begun" });
      return { key, after: open.at, notifications: notifications.begin(), asking: takeAsking() };
    },
    async end(task, missed, error) {
      const known = open.at.seq;
      if (missed) await take(missed);
      if (missed && open.state.readers !== "behind") {
        notifications.end(task.notifications, open.at.seq);
        for (const asked of task.asking) asked();
        if (open.at.seq > known) open.moved(false);
      } else if (missed) {
        // The load that follows answers them.
        notifications.failed(task.notifications);
        giveAsking(task.asking);
      } else {
        // Whoever polls asks again; asking at once would hammer a database that is away.
        for (const asked of task.asking) asked(error ?? new Error("the database gave no answer"));
      }
      open.tell({ is: "moved" });
    },
    take,
  };
}

export interface CatchUpBatcher {
  /** The document wants to know what others appended. */
  wake(document: CatchUp): void;
}

/** Documents asked for in one statement. */
const maxDocuments = 500;

/** Reads what others appended: while one statement is under way, further notifications collect, and then go as one over all documents. */
export function createCatchUpBatcher(db: Queryable): CatchUpBatcher {
  const waiting = new Set<CatchUp>();
  let running = false;

  async function run(): Promise<void> {
    for (let sent = take(); sent.length > 0; sent = take()) {
      const tasks = sent.map(([, task]) => task);
      const { answers, error } = await readMissed(db, tasks).then(
        (answers) => ({ answers, error: undefined }),
        (error: unknown) => ({ answers: [], error }),
      );
      for (const [index, [document, task]] of sent.entries()) void document.end(task, answers[index], error);
    }
    running = false;
  }

  function take(): [CatchUp, CatchUpTask][] {
    const sent: [CatchUp, CatchUpTask][] = [];
    for (const document of waiting) {
      if (sent.length === maxDocuments) break;
      waiting.delete(document);
      const task = document.begin();
      if (task) sent.push([document, task]);
    }
    return sent;
  }

  return {
    wake(document) {
      waiting.add(document);
      if (running) return;
      running = true;
      // Whatever else is asked for in this turn of the event loop comes along.
      setImmediate(() => void run());
    },
  };
}
