import type { CatchingUp, CatchUpBatcher, CatchUpTask } from "./catch-up-batcher.js";
import type { Missed } from "./queries.js";
import type { DocumentState } from "./state.js";

export type Asking = (error?: unknown) => void;

/** What others appended, asked for by notifications and by `refresh`. */
export interface CatchUp extends CatchingUp {
  ask(asking: Asking): void;
  /** Asks the database, if anybody wants to know and nothing else is about to tell. */
  want(): void;
  /** An append's transaction answers the same question. */
  takeAsking(): Asking[];
  giveAsking(asking: readonly Asking[]): void;
  /** Moves the document to what was read at its position. */
  take(news: Missed): Promise<void>;
}

export function createCatchUp(state: DocumentState, catchUpBatcher: CatchUpBatcher): CatchUp {
  let asking: Asking[] = [];

  const wanted = () => asking.length > 0 || state.notifications.pending();
  const possible = () => !state.busy && !state.storing && state.ready.length === 0;

  function takeAsking(): Asking[] {
    const taken = asking;
    asking = [];
    return taken;
  }

  function takeRequest(): CatchUpTask | undefined {
    if (!possible() || !wanted()) return undefined;
    state.storing = true;
    return { key: state.key, after: state.at, notifications: state.notifications.begin(), asking: takeAsking() };
  }

  async function settle(task: CatchUpTask, news: Missed | undefined, error: unknown): Promise<void> {
    const known = state.at.seq;
    if (news) await take(news);
    state.storing = false;
    if (news && !state.behind) {
      state.notifications.end(task.notifications, state.at.seq);
      for (const asked of task.asking) asked();
      if (state.at.seq > known) state.moved(false);
    } else if (news) {
      // The load that follows answers them.
      state.notifications.failed(task.notifications);
      asking = [...task.asking, ...asking];
    } else {
      // Whoever polls asks again; asking at once would hammer a database that is away.
      for (const asked of task.asking) asked(error ?? new Error("the database gave no answer"));
    }
    state.pump();
  }

  async function take(news: Missed): Promise<void> {
    if (!news.leadsOn) {
      // Another life, or an earlier state of the database, or so far behind that the tail cannot tell.
      // The load that follows tells which.
      state.replica.unload();
      state.behind = true;
    } else {
      const updates = news.updates.map((update) => update.payload);
      const last = news.updates.at(-1);
      if (!last) return;
      await state.replica.follow(updates);
      for (const { seq } of news.updates) state.notifications.saw(seq);
      state.subscribers.deliver({ updates, seq: last.seq, origin: undefined });
      state.at = news.head;
    }
  }

  const news: CatchUp = {
    ask(asked) {
      asking.push(asked);
    },
    want() {
      if (possible() && wanted()) catchUpBatcher.wake(news);
    },
    takeAsking,
    giveAsking(given) {
      asking = [...given, ...asking];
    },
    takeRequest,
    settle,
    take,
  };
  return news;
}
