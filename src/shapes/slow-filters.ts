import { remember } from "../lib/bounded-map.js";
import type { ShapeQuery } from "./queries.js";

/** A filter that took the database long, as this process saw it since it began. */
export interface SlowFilter {
  readonly table: string;
  readonly where: string;
  /** How often it was slow, for how long in all, and at most. */
  readonly times: number;
  readonly totalMs: number;
  readonly slowestMs: number;
  /** How often Postgres ended it (PERCH_SHAPE_STATEMENT_MS). */
  readonly ended: number;
  /** Who asked last, and when. */
  readonly userId: string;
  readonly lastAt: string;
}

export interface SlowFilters {
  note(
    asked: Pick<ShapeQuery, "schema" | "table"> & { where: string; userId: string },
    ms: number,
    ended: boolean,
  ): void;
  /** The dearest first. */
  all(): SlowFilter[];
}

/** As long as other requests that are called long (docs/operations.md). */
export const slowMs = 50;
/** Of each user as many as one looks at, so that nobody's hide those of the others. */
const keptOfUser = 10;
const keptUsers = 20;
const shownLength = 1_000;

/** Remembers which filters of shapes take long, for the console. Those of the users who were slow last. */
export function createSlowFilters(): SlowFilters {
  const users = new Map<string, Map<string, SlowFilter>>();
  return {
    note({ schema, table, where, userId }, ms, ended) {
      if (ms < slowMs) return;
      const filters = users.get(userId) ?? new Map<string, SlowFilter>();
      const shown = where.slice(0, shownLength);
      const name = schema === "public" ? table : `${schema}.${table}`;
      const key = `${name} ${shown}`;
      const before = filters.get(key);
      const filter = {
        table: name,
        where: shown,
        times: (before?.times ?? 0) + 1,
        totalMs: (before?.totalMs ?? 0) + ms,
        slowestMs: Math.max(before?.slowestMs ?? 0, ms),
        ended: (before?.ended ?? 0) + (ended ? 1 : 0),
        userId,
        lastAt: new Date().toISOString(),
      };
      remember(filters, key, filter, keptOfUser);
      remember(users, userId, filters, keptUsers);
    },
    all: () => [...users.values()].flatMap((each) => [...each.values()]).sort((a, b) => b.totalMs - a.totalMs),
  };
}
