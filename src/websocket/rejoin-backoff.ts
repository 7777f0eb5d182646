import { remember } from "../lib/bounded-map.js";

/** How often a room may be asked to join again: so many times in a row, and then once every so often. */
const capacity = 5;
const refillMs = 10_000;
/** What the first, second, … of a row waits before it is asked, so that a fault that lasts is not met at full speed. */
const delays = [0, 200, 800, 3_000, 5_000];

export interface RejoinBackoff {
  /**
   * How long to wait before a room is asked to join again; undefined when that has just been tried so often, to no avail, that
   * it will not help. A `passing` fault is worth waiting for however long it lasts, and does not count: the longest of the waits is
   * then the longest that a client lags behind once the fault is over.
   */
  delay(roomKey: string, passing: boolean): number | undefined;
}

/** Rooms remembered; the longest untouched are forgotten first. */
const maxRooms = 1_000;

interface Budget {
  tokens: number;
  at: number;
  /** Passing faults in a row, and when the last was. */
  faults: number;
  faultAt: number;
}

/**
 * A refused batch is final for the client: it does not send it again, and what is typed next builds on it. Only a new join, in
 * which both sides compare versions, brings the two together. A client that sends what will never be accepted would do so for
 * ever, hence a budget for each room of a socket.
 */
export function createRejoinBackoff(now: () => number = Date.now): RejoinBackoff {
  const budgets = new Map<string, Budget>();
  return {
    delay(roomKey, passing) {
      const time = now();
      const budget = budgets.get(roomKey) ?? { tokens: capacity, at: time, faults: 0, faultAt: time };
      budget.tokens = Math.min(capacity, budget.tokens + (time - budget.at) / refillMs);
      budget.at = time;
      remember(budgets, roomKey, budget, maxRooms);
      if (passing) {
        if (time - budget.faultAt > refillMs) budget.faults = 0;
        budget.faultAt = time;
        budget.faults += 1;
        return delayAfter(budget.faults - 1);
      }
      if (budget.tokens < 1) return undefined;
      const delay = delayAfter(Math.floor(capacity - budget.tokens));
      budget.tokens -= 1;
      return delay;
    },
  };
}

const delayAfter = (attempts: number) => delays[Math.min(delays.length - 1, attempts)] ?? 0;
