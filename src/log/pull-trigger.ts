/** What says nothing new of a space that is known leads to a pull no more often than this. */
const aroundMs = 1_000;

/** The pull trigger of one follower: which notifications mean that it should pull, and when. */
export interface PullTrigger {
  /** A notification on perch_changes came. */
  notified(spaceId: string, seq: number): void;
  /** For whoever has read the notification: so far has the log of a space come. Out: whether that is new, and wakes. */
  heard(spaceId: string, seq: number): boolean;
  /** Something may have been missed: pull at once. */
  wake(): void;
  /** Where a pull that came to the end of the log has come to. */
  reached(positions: Positions): void;
  /** Resolves when it is time to pull: a notification, `pollMs`, or the signal. */
  wait(pollMs: number, signal: AbortSignal): Promise<void>;
  close(): void;
}

/** Where a reader is in each space: the number of the last entry it was given, and what identifies that. */
export type Positions = ReadonlyMap<string, { readonly seq: number; readonly mark: string | null }>;

/**
 * A notification with a number beyond our position in a space that we read is something new, and wakes at once. Any other notification may mean that we
 * were let into a space or put out of one (changes of membership notify without a new number), or nothing to us at all: on a
 * server with many spaces most notifications are such. They wake too, but all together at most once a second.
 *
 * Notifications wake, tables decide. Whoever can connect may notify of anything, and a true notification is sent by the commit that it is
 * about; so when a
 * pull has come to the end of the log, what was notified before it is done with, whatever number it named.
 */
export function createPullTrigger(): PullTrigger {
  let positions: Positions = new Map();
  let isDue = true;
  let lastPull = 0;
  let wakeUp = () => {};
  let timer: NodeJS.Timeout | undefined;

  const wake = () => {
    isDue = true;
    wakeUp();
  };

  const heard = (spaceId: string, seq: number) => {
    const position = positions.get(spaceId);
    if (position === undefined || seq <= position.seq) return false;
    wake();
    return true;
  };

  return {
    wake,
    heard,
    notified(spaceId, seq) {
      if (heard(spaceId, seq)) return;
      const pullsIn = lastPull + aroundMs - Date.now();
      timer ??= setTimeout(
        () => {
          timer = undefined;
          wake();
        },
        Math.max(0, pullsIn),
      );
    },
    reached(now) {
      positions = now;
    },
    async wait(pollMs, signal) {
      let poll: NodeJS.Timeout | undefined;
      if (!isDue && !signal.aborted) {
        await new Promise<void>((resolve) => {
          wakeUp = resolve;
          signal.addEventListener("abort", wakeUp, { once: true });
          poll = setTimeout(wakeUp, pollMs);
        });
        clearTimeout(poll);
        signal.removeEventListener("abort", wakeUp);
        wakeUp = () => {};
      }
      isDue = false;
      lastPull = Date.now();
    },
    close: () => clearTimeout(timer),
  };
}
