import { createLanes, type Lane } from "../lib/lanes.js";
import { type Contention, createContention } from "./contention.js";
import type { Database } from "./types.js";

export interface ShareOptions {
  /** Connections that what one user asks for may use at once. */
  readonly perUser: number;
  /** Connections that those may use at once, all together, whose works take much longer than others'; see `createLanes`. */
  readonly heavy: number;
  /** Connections that may wait for what others hold locked. */
  readonly waiters: number;
}

export const defaultShares: ShareOptions = { perUser: 2, heavy: 1, waiters: 2 };

/** The connections of a process, shared among those who use them, so that nobody has to wait for all of another's work. */
export interface Shares {
  /** For what was typed, which everybody waits for. */
  readonly appends: Database;
  /** The same for one of those who take turns at it; what has no owner is one of them. */
  appendsOf(owner: string): Database;
  /** For reading documents that are opened. */
  readonly reads: Database;
  /** For the worker, and what else is done in the background. */
  readonly worker: Database;
  /** For what a user asks for: in the user's turn. */
  of(userId: string): Database;
  /** The user's turn by itself; inside, use `db`, which waits for nothing. */
  turn<T>(userId: string, work: (db: Database) => Promise<T>, until?: number): Promise<T>;
  readonly contention: Contention;
  /** What waits for its turn. */
  waiting(): number;
}

/** Of ten connections; of more or fewer in proportion. Everything may use what is kept for nobody. */
const keptOfTen = { appends: 2, reads: 1, worker: 2, users: 1 };

export function shareConnections(db: Database, options: ShareOptions = defaultShares): Shares {
  const places = db.stats().max;
  const kept = (name: keyof typeof keptOfTen) => Math.floor((keptOfTen[name] * places) / 10);
  const lanes = createLanes(places, {
    appends: { kept: kept("appends") },
    // Joins of rooms are cheap to ask for and wait for each other anyway: however many come, others find places.
    reads: { kept: kept("reads"), most: Math.max(1, Math.floor((3 * places) / 10)) },
    // What it does is behind what was answered. Some of these may be waiting for what others hold locked.
    worker: { kept: kept("worker"), most: Math.max(options.waiters + 2, Math.floor((4 * places) / 10)) },
    users: { kept: kept("users"), perOwner: options.perUser, heavy: options.heavy },
  });
  const through = (lane: Lane, owner: string): Database => ({
    ...db,
    query: (sql, params, how) => lane.run(owner, () => db.query(sql, params, how)),
    transaction: (work) => lane.run(owner, () => db.transaction(work)),
  });
  return {
    appends: through(lanes.appends, ""),
    appendsOf: (owner) => through(lanes.appends, owner),
    reads: through(lanes.reads, ""),
    worker: through(lanes.worker, ""),
    of: (userId) => through(lanes.users, userId),
    turn: (userId, work, until) => lanes.users.run(userId, () => work(db), until),
    contention: createContention({ places: options.waiters }),
    waiting: () => Object.values(lanes).reduce((sum, { waiting }) => sum + waiting, 0),
  };
}
