import type { Queryable } from "../database/types.js";
import type { NotificationHub } from "../notifications/hub.js";
import type { FilterNode } from "./tree.js";

/** Changes of a table, in some spaces. */
export interface Wanted {
  readonly appId: string;
  readonly table: string;
  /** The table in the database. */
  readonly schema: string;
  readonly relation: string;
  readonly spaces: ReadonlySet<string>;
  readonly filter: FilterNode | null;
  /** Tables whose changes concern it as well: those of the filter's sub-selects. */
  readonly others: readonly Place[];
  /** The epoch of the log that positions are of. */
  readonly epoch: string;
}

/** The same as it is looked for. Made once for all who wait for it. */
export interface Watch extends Wanted {
  /** Of its own table. */
  readonly name: string;
  /** By table, its own among them: the spaces whose changes concern it. */
  readonly places: ReadonlyMap<string, ReadonlySet<string>>;
  readonly filterText: string;
}

/** Who waits. Thousands do: it is a plain object of few fields, and whatever is the same for several of them is held once. */
export interface Waiter {
  readonly watch: Watch;
  readonly userId: string;
  /** It has read up to here. */
  readonly after: bigint;
  /** Up to here there is nothing for it. */
  upto: bigint;
}

interface Place {
  readonly appId: string;
  readonly table: string;
  readonly spaces: ReadonlySet<string>;
}

export interface Heard {
  /** Whether there may be something; else there is nothing up to here. The position is one of the epoch that was waited in. */
  readonly found: boolean;
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
  /** It waits no more, and is told of nothing. Out: whether it waited. */
  leave(waiter: W): boolean;
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

const nameOf = ({ appId, table }: Pick<Wanted, "appId" | "table">) => JSON.stringify([appId, table]);

export function watchOf(wanted: Wanted): Watch {
  return {
    ...wanted,
    name: nameOf(wanted),
    filterText: JSON.stringify(wanted.filter),
    places: new Map([wanted, ...wanted.others].map((place) => [nameOf(place), place.spaces])),
  };
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
const matchesSql = `select perch.shape_matches(schema_name => $1, relation_name => $2, app_id => $3, table_name => $4,
                      after_position => $5::bigint, upto => $6::bigint, filters => $7::text[]::jsonb[]) as matches`;
/** Filters that are tried for a user, and how long they may be: the looks are everybody's. With more, or longer ones, each looks for itself, in its user's turn. */
const triedOfUser = 20;
const triedLength = 4_000;
/** Filters of one statement. */
const maxFilters = 200;

/**
 * One look for all who wait on this node: which tables have changed in which spaces since the last, and, where many wait with filters, which
 * of those the changes may be true of. Notifications say when to look, and a slow poll finds what none told. So a write costs one or two
 * statements a node, and wakes those whom it concerns.
 *
 * Why nothing is missed: a look tells of all entries behind where the last one had come to (positions are given out in the order of
 * their commits). Whoever begins to wait has read up to `after`. What lies behind that is told by a later look, or was told by an
 * earlier one: then `latest` says so, and nobody waits. Where none looked so far back, the next one does. A filter is tried on rows as they
 * were and as they are: of which it is true of neither, that is neither in its shape nor was.
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
  /** All behind `from` has been looked at, up to `looked`. */
  let from = 0n;
  let looked = 0n;
  let waiting = 0;
  let lookedAt = 0;
  let timer: NodeJS.Timeout | undefined;
  let looking: Promise<void> | undefined;
  let again = false;
  let stopListening: (() => void) | undefined;

  /** Unless it has left since it was found. */
  function wake(waiter: W, heard: Heard): void {
    if (leave(waiter)) woken(waiter, heard);
  }

  async function look(): Promise<void> {
    const [before, during] = [looked, epoch];
    const found = await db.query<ChangedRow>(changedSql, [before], { prepare: true });
    // Whoever came meanwhile may stand before what this look began with, or in another epoch.
    if (looked !== before || epoch !== during) return;
    const now = found[0]?.epoch;
    if (now !== undefined && now !== epoch) return beginEpoch(now);
    const rows = found.flatMap((row) => (row.app_id === null ? [] : [{ ...row, app_id: row.app_id }]));
    // What one statement sees is there up to the last of it.
    const upto = rows.reduce((most, { position }) => (BigInt(position) > most ? BigInt(position) : most), before);
    const changed = new Map<string, Map<string, bigint>>();
    for (const { app_id: appId, table_name: table, space_id: space, position } of rows) {
      const name = nameOf({ appId, table });
      const at = BigInt(position);
      changed.set(name, (changed.get(name) ?? new Map<string, bigint>()).set(space, at));
      if (at > (latest.get(name) ?? 0n)) latest.set(name, at);
    }
    looked = upto;
    const passed = new Set<W>();
    for (const [name, others] of [...waiters]) {
      const spaces = changed.get(name);
      // They may go and others come while filters are tried: only those who were there before are told.
      const here = [...others].filter((waiter) => waiter.upto >= before || spaces === undefined);
      const concerned = here.filter((waiter) => spaces !== undefined && concerns(waiter, name, spaces));
      const own = concerned.filter(({ watch }) => watch.name === name);
      const told = new Set(own.length === 0 ? [] : await matching(own, before, upto));
      // Whoever came with another epoch has had all of this one told.
      if (epoch !== during) return;
      // Of a table in its sub-select a filter cannot be tried.
      for (const waiter of concerned) if (waiter.watch.name !== name) told.add(waiter);
      for (const waiter of here) {
        if (told.has(waiter)) wake(waiter, { found: true, upto });
        else passed.add(waiter);
      }
      for (const waiter of others) {
        if (spaces !== undefined && waiter.upto < before) wake(waiter, { found: true, upto });
      }
    }
    // Whoever waits for several tables is past this when all of them have been looked at.
    for (const waiter of passed) if (upto > waiter.upto) waiter.upto = upto;
  }

  /** Those who wait are in the old one. What they ask next tells them that it is over. */
  function beginEpoch(another: string): void {
    epoch = another;
    latest.clear();
    for (const others of [...waiters.values()])
      for (const waiter of [...others]) wake(waiter, { found: true, upto: waiter.upto });
  }

  function concerns({ after, watch: { places } }: W, name: string, changed: ReadonlyMap<string, bigint>): boolean {
    for (const [space, at] of changed) if (after < at && places.get(name)?.has(space)) return true;
    return false;
  }

  /** Those whose filters may be true of what changed between two positions. Of fewer than a few filters each looks for itself. */
  async function matching(concerned: W[], after: bigint, upto: bigint): Promise<ReadonlySet<W>> {
    const [first] = concerned;
    const texts = filtersToTry(concerned);
    if (first === undefined || texts.length < 3) return new Set(concerned);
    const tried = new Set(texts);
    const true_ = new Set<string>();
    try {
      for (let start = 0; start < texts.length; start += maxFilters) {
        const some = texts.slice(start, start + maxFilters);
        const { schema, relation, appId, table } = first.watch;
        const [row] = await db.query<{ matches: boolean[] }>(matchesSql, [
          ...[schema, relation, appId, table],
          ...[after, upto, some],
        ]);
        for (const [nth, text] of some.entries()) if (row?.matches[nth] !== false) true_.add(text);
      }
    } catch (error) {
      log.warn({ err: error }, "filters of shapes could not be tried together; each is tried for itself");
      return new Set(concerned);
    }
    return new Set(concerned.filter(({ watch: { filterText } }) => !tried.has(filterText) || true_.has(filterText)));
  }

  function filtersToTry(concerned: readonly W[]): string[] {
    const chosen = new Set<string>();
    const taken = new Map<string, number>();
    for (const { watch, userId } of concerned) {
      const { filter, filterText } = watch;
      const count = taken.get(userId) ?? 0;
      if (filter === null || chosen.has(filterText) || filterText.length > triedLength || count >= triedOfUser)
        continue;
      taken.set(userId, count + 1);
      chosen.add(filterText);
    }
    return [...chosen];
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
          schedule(again ? Math.max(0, lookedAt + intervalMs - Date.now()) : pollMs);
        });
    }, ms);
  }

  function notified(): void {
    if (looking !== undefined) again = true;
    else schedule(Math.max(0, lookedAt + intervalMs - Date.now()));
  }

  function enter(waiter: W): void {
    if (waiter.watch.epoch !== epoch) beginEpoch(waiter.watch.epoch);
    for (const name of waiter.watch.places.keys()) waiters.set(name, (waiters.get(name) ?? new Set()).add(waiter));
    waiting += 1;
    if (waiting > 1 && waiter.after >= from) return;
    // Nobody has looked since the last one went, or ever so far back.
    from = waiter.after;
    looked = from;
    notified();
    if (waiting > 1) return;
    stopListening = notifications.add({
      notified: ({ channel }) => (channel === "perch_changes" || channel === "perch_captured") && notified(),
      // The database may be another, which nobody has found out. What is told after this is told of this one.
      ready() {
        latest.clear();
        looked = from;
        notified();
      },
    });
  }

  /** Out: whether it waited. */
  function leave(waiter: W): boolean {
    let wasThere = false;
    for (const name of waiter.watch.places.keys()) {
      const others = waiters.get(name);
      wasThere = others?.delete(waiter) === true || wasThere;
      if (others?.size === 0) waiters.delete(name);
    }
    if (!wasThere) return false;
    waiting -= 1;
    if (waiting > 0) return true;
    clearTimeout(timer);
    // From now on nobody hears of anything.
    latest.clear();
    stopListening?.();
    return true;
  }

  return {
    wait(waiter) {
      waiter.upto = waiter.after;
      enter(waiter);
      const isKnown = [...waiter.watch.places.keys()].some((name) => (latest.get(name) ?? 0n) > waiter.after);
      if (!isKnown) return undefined;
      // The last of any table is where a look came to, and a transaction ends; that of one table may be in the middle of one.
      const upto = [...latest.values()].reduce((most, at) => (at > most ? at : most), 0n);
      leave(waiter);
      return { found: true, upto };
    },
    leave,
    readers: () =>
      [...waiters].flatMap(([name, others]) => {
        const own = [...others].filter(({ watch }) => watch.name === name);
        const [first] = own;
        return first === undefined ? [] : [{ appId: first.watch.appId, table: first.watch.table, count: own.length }];
      }),
    close() {
      for (const others of waiters.values()) {
        for (const waiter of [...others]) wake(waiter, { found: false, upto: waiter.upto });
      }
      clearTimeout(timer);
      stopListening?.();
    },
  };
}
