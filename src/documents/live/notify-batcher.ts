import type { Queryable } from "../../database/types.js";
import { documentId } from "../key.js";
import { type Appended, notifyAppends } from "./queries.js";

/** Notifies of the appends of this process: at once while it is quiet, and for many together while it is busy. */
export interface NotifyBatcher {
  /**
   * A transaction of appends sets out. Out: what it is to notify of besides its own, and then `carried` is called when it has ended; false:
   * it is not to notify, and then `owe` what it appended.
   */
  carry(): readonly Appended[] | false;
  /** In: whether it is known to have been committed. */
  carried(sent: boolean): void;
  /** These were, or may have been, committed without a notification. */
  owe(appended: readonly Appended[]): void;
  /** Notifies of what is owed, if the database takes it. */
  close(): Promise<void>;
}

/** Between two notifications: how late one may come while appends follow each other. */
const everyMs = 25;
/** For so much longer the next append is waited for, to carry the notification. */
const patienceMs = 5;
/** After a notification that failed. */
const againMs = 1_000;

/**
 * A commit that notifies takes a lock of the whole cluster until it is on disk, wakes every process that listens, and has each of them
 * read it; and who types is told of by the next notification as well as by each. So the first append in a while notifies, in its own transaction,
 * and what follows within the next moment is notified of by the first append after that moment; or, where none comes, by a statement for it.
 *
 * No wake-up is lost by that, only late: what is owed is kept here until the transaction that notifies of it has committed, which is after
 * the appends, so whoever reads then finds them. Should this process be killed before, or the database be away, other processes look
 * by their poll, as for any notification that is lost.
 */
export function createNotifyBatcher(db: Queryable): NotifyBatcher {
  let owed = new Map<string, Appended>();
  let notifiedAt = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;
  let notifying: Promise<void> | undefined;
  /** What a transaction of appends is notifying of. */
  let carrying: readonly Appended[] | undefined;
  /** Appends go without notifications until then: what failed the one that carried some may have been these. */
  let carryFrom = Number.NEGATIVE_INFINITY;

  function arm(delayMs: number): void {
    timer ??= setTimeout(() => void notify(), delayMs);
    // A process that ends notifies as it closes.
    timer.unref();
  }

  function disarm(): void {
    clearTimeout(timer);
    timer = undefined;
  }

  function take(): Appended[] {
    disarm();
    const taken = [...owed.values()];
    owed = new Map();
    return taken;
  }

  function keep(appended: Appended): void {
    const id = documentId(appended.key);
    if ((owed.get(id)?.seq ?? 0) < appended.seq) owed.set(id, appended);
  }

  function armForOwed(): void {
    if (owed.size === 0 || notifying || carrying) return;
    arm(Math.max(1, notifiedAt + everyMs + patienceMs - performance.now()));
  }

  function owe(appended: readonly Appended[]): void {
    for (const one of appended) keep(one);
    armForOwed();
  }

  function notify(): Promise<void> {
    disarm();
    notifying ??= send().finally(() => {
      notifying = undefined;
      armForOwed();
    });
    return notifying;
  }

  async function send(): Promise<void> {
    const sent = take();
    if (sent.length === 0) return;
    try {
      await notifyAppends(db, sent);
      notifiedAt = performance.now();
    } catch {
      // The appends met, or will meet, the same fault, which is reported there.
      for (const one of sent) keep(one);
      arm(againMs);
    }
  }

  return {
    carry() {
      const now = performance.now();
      if (notifying || carrying || now < carryFrom || now - notifiedAt < everyMs) return false;
      carrying = take();
      return carrying;
    },
    carried(sent) {
      const now = performance.now();
      if (sent) notifiedAt = now;
      else {
        carryFrom = now + againMs;
        for (const one of carrying ?? []) keep(one);
      }
      carrying = undefined;
      armForOwed();
    },
    owe,
    async close() {
      await notifying;
      await send();
      disarm();
    },
  };
}
