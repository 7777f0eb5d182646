import type { Database, Queryable } from "../database/types.js";
import { remember } from "../lib/bounded-map.js";
import type { WorkerLog } from "./log.js";

export interface LogHistory {
  /** A notification named this space: its log has moved, or somebody says so. */
  notified(spaceId: string): void;
  /** Reads how far the logs have come that moved. Part of every poll. Errors: the database's. */
  poll(): Promise<void>;
  /** Begins a new epoch where the database is not the one it was, or went back. In: what to ask it on. Errors: the database's. */
  check(on?: Queryable): Promise<void>;
}

/** Of so many spaces, those whose logs moved last, is it known where they stood. */
const maxSpaces = 64;

/**
 * A high-water mark: which entries this process has read from the log. It is kept while connections come and go, so a database that
 * comes back without them (a failover to a standby that lacked them, a copy of the data folder) is found out before anything is made
 * of it. Notifications only say which spaces to look at; what counts was read from the tables.
 */
export function createHistory({ db, log }: { readonly db: Database; readonly log: WorkerLog }): LogHistory {
  const moved = new Set<string>();
  /** In the order in which they were read. */
  const seen = new Map<string, [seq: number, mark: string]>();
  let epoch: string | undefined;

  return {
    notified(spaceId) {
      if (moved.size < maxSpaces) moved.add(spaceId);
    },
    async poll() {
      if (moved.size === 0) return;
      const spaces = [...moved];
      moved.clear();
      const rows = await db.query<{ epoch: string; space_id: string; seq: number; mark: string | null }>(
        "select * from perch.log_heads(space_ids => $1::text[])",
        [spaces],
      );
      for (const row of rows) {
        if (row.epoch !== epoch) seen.clear();
        epoch = row.epoch;
        if (row.mark === null) continue;
        remember(seen, row.space_id, [row.seq, row.mark], maxSpaces);
      }
    },
    async check(on = db) {
      const [row] = await on.query<{ reason: string | null }>(
        "select perch.check_history(seen_epoch => $1, seen => $2::jsonb) as reason",
        [epoch ?? null, JSON.stringify(Object.fromEntries(seen))],
      );
      const reason = row?.reason ?? null;
      if (reason === null) return;
      seen.clear();
      const [begun] = await on.query<{ lost: Record<string, Lost> | null }>("select lost from perch.last_epoch()");
      const lost = begun?.lost ?? {};
      const why =
        reason === "server"
          ? "the database is on another server, timeline or database than before (restored, or failed over)"
          : "the database went back: entries of the log that this process has read are gone";
      log.warn(
        { reason, lost },
        `${why}; ${lostInWords(lost)}; the log has a new epoch, and its readers take snapshots`,
      );
    },
  };
}

/** How far the log of a space was read, and how far it goes now. */
export interface Lost {
  readonly seen: number;
  readonly head: number;
}

const maxNamed = 10;

/** What of the log is gone that had been read, for people. There may be more: what nobody has read is known to nobody. */
export function lostInWords(lost: Readonly<Record<string, Lost>>): string {
  const spaces = Object.entries(lost);
  if (spaces.length === 0) return "nothing that was read of it is gone";
  const named = spaces
    .slice(0, maxNamed)
    .map(([space, { seen, head }]) =>
      head < seen
        ? `of space ${space} the changes ${head + 1} to ${seen}`
        : `of space ${space} change ${seen} and what led to it`,
    );
  const more = spaces.length > maxNamed ? `, and of ${spaces.length - maxNamed} more spaces` : "";
  return `gone are at least ${named.join(", ")}${more}`;
}
