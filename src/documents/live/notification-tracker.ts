/** Positions remembered as known to be in the tail; a notification that comes later than this many updates is looked into once more. */
export const remembered = 256;
/** Notifications kept while a read is under way; beyond, the oldest are taken for unexplained. */
const kept = 64;

/**
 * What notifications said of one document. A notification names one position, taken in the tail or in the inbox; which, it does not say. So a
 * notification is explained when its position was seen in the tail (own appends, what was read), and unexplained when everything up to it
 * was read and it was not there: then something may be waiting in the inbox.
 */
export interface NotificationTracker {
  /** An update with this position is in the tail. */
  saw(seq: number): void;
  /** We have just committed up to this position, and a notification says so. */
  committed(seq: number): void;
  /** Since when (of performance.now) such a notification has been on its way; undefined when none is. */
  awaitedSince(): number | undefined;
  /** In: the notification; up to where everything is known; whether a read is under way, which may explain it; whether anything new is wanted. */
  notified(seq: number, position: number, reading: boolean, wanted: boolean): void;
  /** Whether a notification asks for a read. */
  pending(): boolean;
  /** Whether a notification told of something beyond the position, and nothing has been read since it came. */
  unread(position: number): boolean;
  /** A read begins. Out: the notifications that it answers, for `end`. */
  begin(): number[];
  /** The read ended; everything up to `position` is known. */
  end(answered: readonly number[], position: number): void;
  /** The read failed. */
  failed(answered: readonly number[]): void;
  /** Positions may be given out again, to other updates. */
  forget(): void;
}

/** `arrived` is told how long notifications of own commits took to come. */
export function createNotificationTracker(
  unexplained: () => void,
  arrived: (lagMs: number) => void,
): NotificationTracker {
  const seen = new Set<number>();
  let pending: number[] = [];
  /**
   * The greatest position heard of. Whoever can connect may notify of any: a true notification comes with the commit that it is about, so
   * what was heard before a read began, and the read did not find, is done with.
   */
  let heard = 0;
  /** The greatest heard of since the read that is under way began. */
  let heardMeanwhile = 0;
  let awaited: { readonly seq: number; readonly since: number } | undefined;

  function hear(seq: number): void {
    heard = Math.max(heard, seq);
    heardMeanwhile = Math.max(heardMeanwhile, seq);
    if (awaited === undefined || seq < awaited.seq) return;
    arrived(performance.now() - awaited.since);
    awaited = undefined;
  }

  return {
    saw(seq) {
      seen.add(seq);
      if (seen.size <= remembered) return;
      for (const oldest of seen) {
        seen.delete(oldest);
        break;
      }
    },
    committed(seq) {
      // The notification may overtake the answer.
      if (heard >= seq) arrived(0);
      else awaited ??= { seq, since: performance.now() };
    },
    awaitedSince: () => awaited?.since,
    notified(seq, position, reading, wanted) {
      hear(seq);
      if (seen.has(seq)) return;
      if (!reading && (seq <= position || !wanted)) return unexplained();
      pending.push(seq);
      if (pending.length > kept) {
        pending.splice(0, kept / 2);
        unexplained();
      }
    },
    pending: () => pending.length > 0,
    unread: (position) => heard > position,
    begin() {
      heardMeanwhile = 0;
      const answered = pending;
      pending = [];
      return answered;
    },
    end(answered, position) {
      heard = Math.max(Math.min(heard, position), heardMeanwhile);
      // A notification that came during the read may be beyond what the read saw: it stays.
      const settled = [...answered, ...pending.filter((seq) => seq <= position)];
      pending = pending.filter((seq) => seq > position);
      if (settled.some((seq) => !seen.has(seq))) unexplained();
    },
    failed(answered) {
      pending = [...answered, ...pending].slice(-kept);
    },
    forget() {
      seen.clear();
      heard = 0;
      heardMeanwhile = 0;
      awaited = undefined;
    },
  };
}
