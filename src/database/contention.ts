import { createLanes, TurnMissed } from "../lib/lanes.js";
import { isLockTimeout, lockTimeoutCode } from "./errors.js";

export interface ContentionOptions {
  /** Works that wait for what is held, at once. */
  readonly places: number;
  /** How long what is not known to be held is waited for. */
  readonly patienceMs?: number;
  /** How long what is known to be held is waited for at a time, before it is another's turn. */
  readonly sliceMs?: number;
}

/** `Place` is what it is run in: a connection, say. */
export interface ContendedWork<T, Place> {
  /** What it takes locks of, as far as that is known. */
  readonly names: readonly string[];
  /** Who has to wait: of each owner one waits in the database at a time, and the owners take turns. */
  readonly owner: string;
  /** Waits for a place, until then at most (as of `performance.now()`), and runs what it is given there. Errors: TurnMissed; as `work`. */
  enter<R>(work: (place: Place) => Promise<R>, until?: number): Promise<R>;
  /** A transaction that waits for a lock for so many milliseconds at most, and then fails with 55P03. */
  attempt(lockTimeoutMs: number, place: Place): Promise<T>;
  /**
   * Until when, as of `performance.now()`, it is tried while others hold what it needs; without end when not given. Whatever it waited for
   * before counts: when its time is over it is tried once more, and not waited for.
   */
  readonly until?: number;
  /** Whether nobody wants it any more. */
  isOver?(): boolean;
}

/** What others hold, and those who wait for it. */
export interface Contention {
  /** Out, errors: as `attempt`; 55P03 when it is held for too long. */
  run<T, Place>(work: ContendedWork<T, Place>): Promise<T>;
  /** Names that are known to be held. */
  readonly held: number;
  /** Works that wait for them. */
  readonly waiting: number;
}

export const defaultPatienceMs = 100;
const defaultSliceMs = 500;

const isHeld = Symbol("held");

const heldTooLong = () =>
  Object.assign(new Error("others held what this needs for too long"), { code: lockTimeoutCode });

/**
 * Somebody's transaction may hold what a space is numbered with, or a document's row, for as long as it likes. Whatever waits for that in
 * the database holds a connection, and a turn of its kind, and soon all of them. So nothing is waited for long but by a few: what was not
 * got within a moment is known to be held from then on, and whoever needs it waits here, in memory, for one at a time to wait for it in
 * the database. That one gets it as soon as it is free, and so do then the others. Without such a wait, by looking now and
 * then, they would get it late, or never, while others are quicker. Of what takes several things it is not known which of them is held:
 * it waits, and says nothing of them to others.
 */
export function createContention({ places, patienceMs, sliceMs }: ContentionOptions): Contention {
  const held = new Set<string>();
  /** How many wait for each. */
  const waiting = new Map<string, number>();
  const { waiters } = createLanes(places, { waiters: { perOwner: 1 } });

  function mark(names: readonly string[]): void {
    const [name, ...others] = names;
    if (name !== undefined && others.length === 0) held.add(name);
  }

  const isKnown = (names: readonly string[]) => names.some((name) => held.has(name));

  async function tryAtOnce<T, Place>(work: ContendedWork<T, Place>): Promise<T | typeof isHeld> {
    const { names, enter, attempt } = work;
    if (isKnown(names)) return isHeld;
    // It may have become known while a place was waited for.
    return enter(async (place) => {
      if (isKnown(names)) return isHeld;
      try {
        return await attempt(patienceMs ?? defaultPatienceMs, place);
      } catch (error) {
        if (!isLockTimeout(error)) throw error;
        return isHeld;
      }
    });
  }

  /** In its turn, until it has what it needs. */
  async function wait<T, Place>({ names, owner, enter, attempt, until, isOver }: ContendedWork<T, Place>): Promise<T> {
    const left = () => (until === undefined ? Number.POSITIVE_INFINITY : until - performance.now());
    const slice = () => Math.max(1, Math.min(sliceMs ?? defaultSliceMs, Math.round(left())));
    for (;;) {
      if (left() <= 0) throw heldTooLong();
      try {
        // The time to wait for the lock is what is left when the places were waited for.
        return await waiters.run(owner, () => enter((place) => attempt(slice(), place), until), until);
      } catch (error) {
        if (error instanceof TurnMissed) throw heldTooLong();
        if (!isLockTimeout(error) || isOver?.() || (until !== undefined && performance.now() >= until)) throw error;
        mark(names);
      }
    }
  }

  return {
    async run(work) {
      const first = await tryAtOnce(work);
      if (first !== isHeld) return first;
      mark(work.names);
      for (const name of work.names) waiting.set(name, (waiting.get(name) ?? 0) + 1);
      try {
        const result = await wait(work);
        for (const name of work.names) held.delete(name);
        return result;
      } finally {
        for (const name of work.names) {
          const others = (waiting.get(name) ?? 0) - 1;
          if (others > 0) waiting.set(name, others);
          else {
            // Nobody is left who would notice that it is free.
            waiting.delete(name);
            held.delete(name);
          }
        }
      }
    },
    get held() {
      return held.size;
    },
    get waiting() {
      return waiters.waiting;
    },
  };
}
