import type { Queryable } from "../database/types.js";
import type { NotificationHub } from "../notifications/hub.js";

/** Changes of a table, in some spaces, behind a position. */
export interface Wanted {
  readonly appId: string;
  readonly table: string;
  readonly spaces: ReadonlySet<string>;
  readonly after: bigint;
}

/** Tells many readers of shapes when there is something to read for them. */
export interface ShapeNews {
  /** How many wait. */
  readonly waiting: number;
  /** Resolves with true when there may be something, with false after a while, or when the signal says so. */
  wait(wanted: Wanted, ms: number, signal: AbortSignal): Promise<boolean>;
  close(): void;
}

export interface ShapeNewsOptions {
  /** Of perch_worker. */
  readonly db: Queryable;
  readonly notifications: Pick<NotificationHub, "add">;
  readonly log: { warn(details: object, message: string): void };
  /** Between two looks there is at least this much time. */
  readonly intervalMs: number;
  /** How often it looks when nothing notifies. */
  readonly pollMs: number;
}

interface Waiter extends Wanted {
  wake(found: boolean): void;
}

interface NewsRow {
  app_id: string;
  table_name: string;
  space_id: string;
  position: string;
}

const newsSql = `select n.app_id, n.table_name, n.space_id, n.position::text as position
                   from perch.shape_news(after_position => $1::bigint) n`;

/**
 * One look for all who wait on this node: which tables have changed in which spaces since the last. Notifications say when to look, and a slow
 * poll finds what none told. So a write costs one statement a node, and wakes those whom it concerns.
 *
 * Why nothing is missed: a look tells of all entries behind where the last one had come to (positions are given out in the order of
 * their commits). Whoever begins to wait has read up to `after`. What lies behind that is told by a later look, or was told by an
 * earlier one: then `latest` says so, and nobody waits. Where none looked so far back, the next one does.
 */
export function createShapeNews({ db, notifications, log, intervalMs, pollMs }: ShapeNewsOptions): ShapeNews {
  const waiters = new Map<string, Set<Waiter>>();
  /** Of each table, up to where it was seen to have changed. */
  const latest = new Map<string, bigint>();
  /** All behind `from` has been looked at, up to `looked`. */
  let from = 0n;
  let looked = 0n;
  let waiting = 0;
  let lookedAt = 0;
  let timer: NodeJS.Timeout | undefined;
  let looking: Promise<void> | undefined;
  let again = false;
  let stopListening: (() => void) | undefined;

  const nameOf = ({ appId, table }: Pick<Wanted, "appId" | "table">) => JSON.stringify([appId, table]);

  async function look(): Promise<void> {
    const rows = await db.query<NewsRow>(newsSql, [looked], { prepare: true });
    for (const { app_id: appId, table_name: table, space_id: space, position } of rows) {
      const at = BigInt(position);
      const name = nameOf({ appId, table });
      if (at > looked) looked = at;
      if (at > (latest.get(name) ?? 0n)) latest.set(name, at);
      for (const waiter of waiters.get(name) ?? []) {
        if (waiter.after < at && waiter.spaces.has(space)) waiter.wake(true);
      }
    }
  }

  function schedule(ms: number): void {
    clearTimeout(timer);
    timer = undefined;
    if (waiting === 0) return;
    timer = setTimeout(() => {
      if (looking !== undefined) {
        again = true;
        return;
      }
      lookedAt = Date.now();
      again = false;
      looking = look()
        .catch((error: unknown) => log.warn({ err: error }, "looking for changes of shapes failed; it goes on"))
        .finally(() => {
          looking = undefined;
          schedule(again ? 0 : pollMs);
        });
    }, ms);
  }

  function notified(): void {
    if (looking !== undefined) again = true;
    else schedule(Math.max(0, lookedAt + intervalMs - Date.now()));
  }

  function enter(waiter: Waiter): void {
    const name = nameOf(waiter);
    const others = waiters.get(name) ?? new Set();
    waiters.set(name, others.add(waiter));
    waiting += 1;
    if (waiting > 1 && waiter.after >= from) return;
    // Nobody has looked since the last one went, or ever so far back.
    from = waiter.after;
    looked = from;
    notified();
    if (waiting > 1) return;
    stopListening = notifications.add({
      notified: ({ channel }) => (channel === "perch_changes" || channel === "perch_captured") && notified(),
      ready: notified,
    });
  }

  function leave(waiter: Waiter): void {
    const name = nameOf(waiter);
    const others = waiters.get(name);
    if (others?.delete(waiter) !== true) return;
    if (others.size === 0) waiters.delete(name);
    waiting -= 1;
    if (waiting > 0) return;
    clearTimeout(timer);
    stopListening?.();
  }

  return {
    get waiting() {
      return waiting;
    },
    wait(wanted, ms, signal) {
      if (signal.aborted) return Promise.resolve(false);
      return new Promise((resolve) => {
        const done = (found: boolean) => {
          clearTimeout(late);
          signal.removeEventListener("abort", stop);
          leave(waiter);
          resolve(found);
        };
        const waiter: Waiter = { ...wanted, wake: done };
        const stop = () => done(false);
        const late = setTimeout(done, ms, false);
        signal.addEventListener("abort", stop);
        enter(waiter);
        if ((latest.get(nameOf(wanted)) ?? 0n) > wanted.after) done(true);
      });
    },
    close() {
      for (const others of waiters.values()) for (const waiter of [...others]) waiter.wake(false);
      clearTimeout(timer);
      stopListening?.();
    },
  };
}
