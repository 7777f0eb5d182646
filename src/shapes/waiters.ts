import type { Queryable } from "../database/types.js";
import type { NotificationHub } from "../notifications/hub.js";
import { type Found, findingOf, type Look, Looks } from "./looks.js";
import { type AskedColumns, matching, valuesOf } from "./trying.js";
import { nameOf, type ShapeWatch, type Waiter } from "./watch.js";

/** Positions of the epoch that was waited in. */
export interface Heard {
  /** Whether there may be something behind `passed`, up to `upto`. */
  readonly found: boolean;
  /** Up to here there is nothing. */
  readonly passed: bigint;
  readonly upto: bigint;
}

/** How many readers wait for changes of a table. */
export interface WaitingReaders {
  readonly appId: string;
  readonly table: string;
  readonly count: number;
}

/** Tells many readers of shapes when there is something to read for them. How long they wait is theirs to say. */
export interface ShapeWaiters<W extends Waiter> {
  /** From now on it is told, once, when there may be something. Out: that there is something already, and it does not wait. */
  wait(waiter: W): Heard | undefined;
  /** It waits no more, and is told of nothing. Out: up to where there is nothing for it. */
  leave(waiter: W): bigint;
  /** Whether all behind a position is known here, so that it is enough to wait. */
  knows(epoch: string, after: bigint): boolean;
  readers(): WaitingReaders[];
  /** All who wait are told that it is over. */
  close(): void;
}

export interface ShapeWaitersOptions<W extends Waiter> {
  /** Of perch_worker. */
  readonly db: Queryable;
  readonly notifications: Pick<NotificationHub, "add">;
  readonly log: { warn(details: object, message: string): void };
  /** Between two looks there is at least this much time. */
  readonly intervalMs: number;
  /** How often it looks when nothing notifies. */
  readonly pollMs: number;
  /** What is told to whoever waited. It does not throw, and does not wait again before it has returned. */
  woken(waiter: W, heard: Heard): void;
}

/** Without a change there is one row, of the epoch alone. */
interface ChangedRow {
  epoch: string;
  app_id: string | null;
  table_name: string;
  space_id: string;
  position: string;
}

const changedSql = `select e.epoch, n.app_id, n.table_name, n.space_id, n.position::text as position
                      from perch.current_epoch() e (epoch)
                      left join perch.changed_tables(after_position => $1::bigint) n on true`;
/** Columns of a table whose changed values are asked for. */
const maxColumns = 20;
/** How long it goes on looking when nobody waits: whoever was answered comes back at once, to where it knows what is there. */
const lingerMs = 2_000;

/**
 * One look for all who wait on this node: which tables have changed in which spaces since the last, and, where filters ask something of columns, which
 * values those have had. So it is known at once whom most changes concern; where many wait with filters that say more, these are tried on what
 * has changed, in one statement. Notifications say when to look, and a slow poll finds what none told. So a write costs a few statements a node,
 * and wakes those whom it concerns.
 *
 * Why nothing is missed: a look tells of all entries behind where the last one had come to (positions are given out in the order of
 * their commits). Whoever begins to wait has read up to `after`. What lies behind that is told by a later look, or was found by an earlier one,
 * which is remembered (`looks`), or of which at least is known up to where its table has changed (`latest`): then nobody waits. Where none
 * looked so far back, the next one does. What a filter requires, and a filter that is tried, is held against rows as they were and as they are: of
 * which it is true of neither, that is neither in its shape nor was.
 *
 * A database may go back under this process (a restore, a failover): then the log has another epoch, and gives out the same positions to other
 * entries. So all that is known here is of one epoch, that of all who wait, which each look tells, too. Whoever comes with another one,
 * and a look that finds another one, begins it: nothing of the old one counts any more, and whoever waited in it is to ask again.
 */
export function createShapeWaiters<W extends Waiter>({
  db,
  notifications,
  log,
  intervalMs,
  pollMs,
  woken,
}: ShapeWaitersOptions<W>): ShapeWaiters<W> {
  const waiters = new Map<string, Set<W>>();
  /** What follows is of this epoch. */
  let epoch: string | undefined;
  /** Of each table, up to where it was seen to have changed. */
  const latest = new Map<string, bigint>();
  const looks = new Looks();
  /** Of each table, the columns that filters required something of, the last one at the end; and what it is in the database. */
  const asked = new Map<string, AskedColumns>();
  /** All behind `from` has been looked at, up to `looked`; and whom that concerned was told, up to `told`. */
  let from = 0n;
  let looked = 0n;
  let told = 0n;
  /** Whether these are of this epoch. */
  let isPlaced = false;
  let waiting = 0;
  let lookedAt = 0;
  let timer: NodeJS.Timeout | undefined;
  let lingering: NodeJS.Timeout | undefined;
  let looking: Promise<void> | undefined;
  let again = false;
  let stopListening: (() => void) | undefined;

  const passedBy = ({ after }: W) => (told > after ? told : after);

  /** Unless it has left since it was found. */
  function wake(waiter: W, heard: Heard): void {
    if (remove(waiter)) woken(waiter, heard);
  }

  async function look(): Promise<void> {
    const [before, during] = [looked, epoch];
    // Whoever came meanwhile may stand before what this look began with, or in another epoch.
    const isOver = () => looked !== before || epoch !== during;
    const found = await db.query<ChangedRow>(changedSql, [before], { prepare: true });
    if (isOver()) return;
    const now = found[0]?.epoch;
    if (now !== undefined && now !== epoch) return beginEpoch(now);
    const rows = found.flatMap((row) => (row.app_id === null ? [] : [{ ...row, app_id: row.app_id }]));
    // What one statement sees is there up to the last of it.
    const upto = rows.reduce((most, { position }) => (BigInt(position) > most ? BigInt(position) : most), before);
    const changed = new Map<string, Map<string, bigint>>();
    for (const { app_id: appId, table_name: table, space_id: space, position } of rows) {
      const name = nameOf({ appId, table });
      changed.set(name, (changed.get(name) ?? new Map<string, bigint>()).set(space, BigInt(position)));
    }
    const concerned = [...changed.keys()].flatMap((name) => asked.get(name) ?? []);
    const values = await valuesOf(db, log, concerned, before, upto);
    if (isOver()) return;
    for (const [name, spaces] of changed) {
      for (const at of spaces.values()) if (at > (latest.get(name) ?? 0n)) latest.set(name, at);
    }
    const seen: Look = { before, upto, changed, values };
    looks.add(seen);
    looked = upto;
    // Whoever comes from here on finds that in `looks`.
    const here = new Set([...changed.keys()].flatMap((name) => [...(waiters.get(name) ?? [])]));
    const untried: W[] = [];
    const tell = (waiter: W) => wake(waiter, { found: true, passed: passedBy(waiter), upto });
    for (const waiter of here) {
      const finding = findingOf(seen, waiter.watch, waiter.after);
      if (finding === "something") tell(waiter);
      else if (finding === "perhaps") untried.push(waiter);
    }
    for (const name of new Set(untried.map(({ watch }) => watch.name))) {
      const own = untried.filter(({ watch }) => watch.name === name);
      for (const waiter of await matching(db, log, own, before, upto)) {
        // Whoever came with another epoch has had all of this one told.
        if (epoch !== during) return;
        tell(waiter);
      }
    }
    // Unless one came that stands further back.
    if (looked === upto && epoch === during) told = upto;
  }

  /** Those who wait are in the old one. What they ask next tells them that it is over. */
  function beginEpoch(another: string): void {
    epoch = another;
    isPlaced = false;
    latest.clear();
    looks.clear();
    for (const others of [...waiters.values()])
      for (const waiter of [...others]) wake(waiter, { found: true, passed: waiter.after, upto: passedBy(waiter) });
  }

  function schedule(ms: number): void {
    clearTimeout(timer);
    timer = undefined;
    if (stopListening === undefined) return;
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
          schedule(again ? Math.max(0, lookedAt + intervalMs - Date.now()) : pollMs);
        });
    }, ms);
  }

  function notified(): void {
    if (looking !== undefined) again = true;
    else schedule(Math.max(0, lookedAt + intervalMs - Date.now()));
  }

  /** Everything behind a position is to be looked at, whatever was before. */
  function lookFrom(position: bigint): void {
    [from, looked, told, isPlaced] = [position, position, position, true];
    looks.clear();
    notified();
  }

  function listen(): void {
    stopListening = notifications.add({
      notified: ({ channel }) => (channel === "perch_changes" || channel === "perch_captured") && notified(),
      // The database may be another, which nobody has found out. What is told after this is told of this one.
      ready() {
        latest.clear();
        if (isPlaced) lookFrom(from);
      },
    });
  }

  function enter(waiter: W): void {
    const { watch, after } = waiter;
    if (watch.epoch !== epoch) beginEpoch(watch.epoch);
    for (const name of watch.places.keys()) waiters.set(name, (waiters.get(name) ?? new Set()).add(waiter));
    waiting += 1;
    clearTimeout(lingering);
    if (watch.requirement !== undefined) askFor(watch, watch.requirement.column);
    if (stopListening === undefined) listen();
    // Nobody has looked since the last one went, or ever so far back.
    if (!isPlaced || after < from) lookFrom(after);
  }

  function askFor(watch: ShapeWatch, column: string): void {
    const columns = asked.get(watch.name)?.columns ?? new Set();
    columns.delete(column);
    columns.add(column);
    const [oldest] = columns;
    if (columns.size > maxColumns && oldest !== undefined) columns.delete(oldest);
    asked.set(watch.name, { watch, columns });
  }

  /** Out: whether it waited. */
  function remove(waiter: W): boolean {
    let wasThere = false;
    for (const name of waiter.watch.places.keys()) {
      const others = waiters.get(name);
      wasThere = others?.delete(waiter) === true || wasThere;
      if (others?.size === 0) waiters.delete(name);
    }
    if (!wasThere) return false;
    waiting -= 1;
    if (waiting === 0 && stopListening !== undefined) lingering = setTimeout(stop, lingerMs).unref();
    return true;
  }

  /** From now on nobody hears of anything. */
  function stop(): void {
    clearTimeout(timer);
    clearTimeout(lingering);
    latest.clear();
    looks.clear();
    asked.clear();
    stopListening?.();
    stopListening = undefined;
    isPlaced = false;
  }

  return {
    wait(waiter) {
      const { watch, after } = waiter;
      enter(waiter);
      const known = looks.since(after, watch) ?? latestOf(watch, after);
      if (known === undefined || known.finding === "nothing") return undefined;
      remove(waiter);
      return { found: true, passed: known.passed, upto: known.upto };
    },
    leave(waiter) {
      remove(waiter);
      return passedBy(waiter);
    },
    knows: (of, after) => isPlaced && of === epoch && after >= from && after <= looked,
    readers: () =>
      [...waiters].flatMap(([name, others]) => {
        const own = [...others].filter(({ watch }) => watch.name === name);
        const [first] = own;
        return first === undefined ? [] : [{ appId: first.watch.appId, table: first.watch.table, count: own.length }];
      }),
    close() {
      for (const others of waiters.values()) {
        for (const waiter of [...others]) {
          const passed = passedBy(waiter);
          wake(waiter, { found: false, passed, upto: passed });
        }
      }
      stop();
    },
  };

  /** Where no look is remembered that goes so far back. */
  function latestOf({ places }: ShapeWatch, after: bigint): Found | undefined {
    if (![...places.keys()].some((name) => (latest.get(name) ?? 0n) > after)) return undefined;
    // The last of any table is where a look came to, and a transaction ends; that of one table may be in the middle of one.
    const upto = [...latest.values()].reduce((most, at) => (at > most ? at : most), 0n);
    return { finding: "perhaps", passed: after, upto };
  }
}
