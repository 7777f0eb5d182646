import { createQueue, type Queue } from "../../lib/queue.js";

/** Begins an append; when it returns a promise, the author's next waits for that. */
export type Begin = () => unknown;

/** What an author's appends may cost the engine: bad ones are answered, but no faster than leaves most of the time to others. */
export interface AuthorLimits {
  /** Calls `begin`: at once, or, while the author has to wait, later, in the order of calling. */
  turn(author: string, begin: Begin): void;
  /** Appends that wait for their turn. */
  readonly waiting: number;
  /** An append of the author took the engine `ms`, what it broke included; `refused`: for nothing. */
  charge(author: string, ms: number, refused: boolean): void;
  /** Lets everybody begin who waits. */
  close(): void;
}

/** For each millisecond that brought nothing, so many of waiting: such an author has a tenth of a thread. */
const refusedFactor = 9;
/** Where there are several, so many times their number, so that they have no more than a fifth together. */
const togetherFactor = 5;
/** What was taken costs its author nothing up to here: more than typing ever takes, even in the largest document. */
const freeMs = 50;
/** The longest wait. */
const maxDebtMs = 30_000;

interface AuthorAccount {
  freeAt: number;
  /** What began last is still at it. */
  busy: boolean;
  readonly waiting: Queue<Begin>;
  /** How many may begin at once: one after a debt, since it may cost again, and twice as many each time that it did not. */
  burst: number;
  timer: NodeJS.Timeout | undefined;
}

/**
 * An engine thread serves many documents, one call after the other, so whoever makes it work for nothing takes that time from all of
 * them; and a refused update can cost its document the replica in memory. Limits bound one update; this bounds how often. Authors wait for
 * their own debts alone, and those whose updates are taken never do, but for updates that take uncommonly long.
 */
export function createAuthorLimits(now: () => number = () => performance.now()): AuthorLimits {
  const accounts = new Map<string, AuthorAccount>();
  let waiting = 0;
  let closed = false;

  function accountOf(author: string): AuthorAccount {
    const account = accounts.get(author) ?? {
      freeAt: now(),
      busy: false,
      waiting: createQueue<Begin>(),
      burst: 1,
      timer: undefined,
    };
    accounts.set(author, account);
    return account;
  }

  function run(author: string, begin: Begin): void {
    const pending = begin();
    if (!(pending instanceof Promise)) return;
    const account = accountOf(author);
    account.busy = true;
    void pending.finally(() => {
      account.busy = false;
      next(author, account);
    });
  }

  /** Lets the next of an author begin, if they may. */
  function next(author: string, account: AuthorAccount): void {
    clearTimeout(account.timer);
    account.timer = undefined;
    for (let left = account.burst; !account.busy && (closed || (left > 0 && account.freeAt <= now())); left--) {
      const begin = account.waiting.shift();
      if (!begin) break;
      waiting--;
      run(author, begin);
      if (left === 1) account.burst *= 2;
    }
    if (account.busy) return;
    if (account.waiting.length === 0 && account.freeAt <= now()) accounts.delete(author);
    else arm(author, account);
  }

  function arm(author: string, account: AuthorAccount): void {
    account.timer ??= setTimeout(() => next(author, account), Math.max(1, account.freeAt - now()));
    account.timer.unref();
  }

  return {
    turn(author, begin) {
      const account = accounts.get(author);
      if (closed || !account || (account.freeAt <= now() && account.waiting.length === 0 && !account.busy)) {
        run(author, begin);
        return;
      }
      waiting++;
      account.waiting.push(begin);
      if (!account.busy) arm(author, account);
    },
    get waiting() {
      return waiting;
    },
    charge(author, ms, refused) {
      const factor = Math.max(refusedFactor, togetherFactor * (accounts.size + (accounts.has(author) ? 0 : 1)));
      const cost = refused ? ms * factor : Math.max(0, ms - freeMs);
      if (cost <= 0 || closed) return;
      const time = now();
      const account = accountOf(author);
      account.burst = 1;
      account.freeAt = Math.min(time + maxDebtMs, Math.max(time, account.freeAt) + cost);
      if (!account.busy) arm(author, account);
    },
    close() {
      closed = true;
      for (const [author, account] of accounts) next(author, account);
    },
  };
}
