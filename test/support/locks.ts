import type { Queryable } from "../../src/database/types.js";
import { until } from "./until.js";

/** Waits until so many sessions of the database wait for a lock that somebody else has. In: a connection that may see them. */
export const lockWaiters = (db: Queryable, count = 1): Promise<unknown> =>
  until(async () => {
    const waiting = await db.query(
      "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
    );
    return waiting.length >= count;
  }, `${count} sessions to wait for a lock`);

/** A place where a transaction stops until it is told to go on. */
export interface Gate {
  /** Resolves when it is open. */
  pass(): Promise<void>;
  /** Resolves when somebody has come to it. */
  readonly reached: Promise<void>;
  open(): void;
}

export function createGate(): Gate {
  let arrive = () => {};
  let open = () => {};
  const reached = new Promise<void>((done) => {
    arrive = done;
  });
  const opened = new Promise<void>((done) => {
    open = done;
  });
  return {
    reached,
    open,
    pass() {
      arrive();
      return opened;
    },
  };
}
