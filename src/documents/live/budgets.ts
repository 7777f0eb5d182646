/** What an author's appends may cost the engine: bad ones are answered, but no faster than leaves most of the time to others. */
export interface Budgets {
  /** Calls `begin`: at once, or, while the author has to wait, later, in the order of calling. */
  turn(author: string, begin: () => void): void;
  /** Appends that wait for their turn. */
  readonly waiting: number;
  /** An append of the author took the engine `ms`, what it broke included; `refused`: for nothing. */
  charge(author: string, ms: number, refused: boolean): void;
  /** Lets everybody begin who waits. */
  close(): void;
}

/** For each millisecond that brought nothing, so many of waiting: such an author has a tenth of a thread. */
const refusedFactor = 9;
/** What was taken costs its author nothing up to here: more than typing ever takes, even in the largest document. */
const freeMs = 50;
/** The longest wait. */
const maxDebtMs = 10_000;

interface Account {
  freeAt: number;
  readonly waiting: (() => void)[];
  timer: NodeJS.Timeout | undefined;
}

/**
 * An engine thread serves many documents, one call after the other, so whoever makes it work for nothing takes that time from all of
 * them; and a refused update can cost its document the copy in memory. Limits bound one update; this bounds how often. Authors wait for
 * their own debts alone, and those whose updates are taken never do, but for updates that take uncommonly long.
 */
export function createBudgets(now: () => number = () => performance.now()): Budgets {
  const accounts = new Map<string, Account>();
  let waiting = 0;
  let closed = false;

  function beginAll(author: string, account: Account): void {
    clearTimeout(account.timer);
    account.timer = undefined;
    for (let begin = account.waiting.shift(); begin; begin = account.waiting.shift()) {
      waiting--;
      begin();
      // One at a time, since each may cost again: the next begins when this one's answer could be there.
      if (!closed && account.waiting.length > 0) {
        arm(author, account);
        return;
      }
    }
    if (account.freeAt <= now()) accounts.delete(author);
    else arm(author, account);
  }

  function arm(author: string, account: Account): void {
    account.timer ??= setTimeout(
      () => {
        account.timer = undefined;
        if (account.freeAt > now()) arm(author, account);
        else beginAll(author, account);
      },
      Math.max(1, account.freeAt - now()),
    );
    account.timer.unref();
  }

  return {
    turn(author, begin) {
      const account = accounts.get(author);
      if (!account || closed || (account.freeAt <= now() && account.waiting.length === 0)) {
        begin();
        return;
      }
      waiting++;
      account.waiting.push(begin);
      arm(author, account);
    },
    get waiting() {
      return waiting;
    },
    charge(author, ms, refused) {
      const cost = refused ? ms * refusedFactor : Math.max(0, ms - freeMs);
      if (cost <= 0 || closed) return;
      const time = now();
      const account = accounts.get(author) ?? { freeAt: time, waiting: [], timer: undefined };
      account.freeAt = Math.min(time + maxDebtMs, Math.max(time, account.freeAt) + cost);
      accounts.set(author, account);
      arm(author, account);
    },
    close() {
      closed = true;
      for (const [author, account] of accounts) beginAll(author, account);
    },
  };
}
