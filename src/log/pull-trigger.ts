import { backOff } from "../lib/back-off.js";

/** What says nothing new of a space that is known leads to a pull no more often than this. */
const aroundMs = 1_000;
/** So many pulls in a row may find nothing of what was notified; those behind them come later and later. */
const vainAtOnce = 3;
const vainMs = 10;

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
 * pull has come to the end of the log, what was notified before it is done with, whatever number it named. Where numbers lead to
 * nothing again and again, somebody makes them up: then they wake later and later, at last once a second, until one is true.
 */
export function createPullTrigger(): PullTrigger {
  let positions: Positions = new Map();
  let isDue = true;
  let lastPull = 0;
  let isByNumber = false;
  let vain = 0;
  let wakeUp = () => {};
  let timer: NodeJS.Timeout | undefined;

  const wake = () => {
    isDue = true;
    wakeUp();
  };

  const wakeIn = (ms: number) => {
    timer ??= setTimeout(() => {
      timer = undefined;
      wake();
    }, ms);
  };

  const heard = (spaceId: string, seq: number) => {
    const position = positions.get(spaceId);
    if (position === undefined || seq <= position.seq) return false;
    isByNumber = true;
    if (vain < vainAtOnce) wake();
    else wakeIn(backOff(vain - vainAtOnce, vainMs, aroundMs));
    return true;
  };

  return {
    wake,
    heard,
    notified(spaceId, seq) {
      if (heard(spaceId, seq)) return;
      wakeIn(Math.max(0, lastPull + aroundMs - Date.now()));
    },
    reached(now) {
      if (!isSame(positions, now)) vain = 0;
      else if (isByNumber) vain += 1;
      isByNumber = false;
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

const isSame = (one: Positions, other: Positions): boolean =>
  one.size === other.size && [...one].every(([space, { seq }]) => other.get(space)?.seq === seq);
