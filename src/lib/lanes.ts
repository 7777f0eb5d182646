/** Nothing was begun: its turn did not come in time. */
export class TurnMissed extends Error {
  readonly code = "ERR_TURN_MISSED";

  constructor() {
    super("its turn did not come in time");
    this.name = "TurnMissed";
  }
}

export interface LaneOptions {
  /** Places that the other lanes leave free for this one. None when not given. */
  readonly kept?: number;
  /** Works of one owner at once; as many as there are places when not given. */
  readonly perOwner?: number;
  /** Places that owners who have taken much time lately leave to those who have not. None when not given. */
  readonly light?: number;
}

export interface Lane {
  /**
   * Runs `work` when there is a place for it. In: whose it is; by when, as of `performance.now()`, it has to have begun.
   * Out, errors: as `work`; TurnMissed.
   */
  run<T>(owner: string, work: () => Promise<T>, until?: number): Promise<T>;
  readonly waiting: number;
}

interface Owner {
  running: number;
  readonly line: Set<() => void>;
}

/** How soon it is forgotten what time an owner took: half of it after so long. */
const halfLifeMs = 10_000;
/** From so much on an owner is no light one: a third of a place, all the time. */
const heavyMs = 5_000;

/** How much time each owner took lately. Those who took it longest ago come first. */
type Spent = Map<string, { readonly ms: number; readonly at: number }>;

interface LaneState extends LaneOptions {
  running: number;
  waiting: number;
  /** Those with works, the next to be served first. */
  readonly owners: Map<string, Owner>;
  readonly spent: Spent;
}

/**
 * Fair queueing for a number of places (connections, say) that several kinds of work share. Of each kind some places are kept free, so that
 * none waits for all of another to end; and within a kind the owners take turns, whatever number of works each of them brings, so that
 * who has one waits for one of each of the others at most. Turns are not equal, though: who has taken little time lately goes before those
 * who have taken much, and finds places that they leave free. So a short work does not wait for long ones. (Nobody waits for ever by that:
 * who waits takes no time, and is light again soon.)
 *
 * In: how many places; the kinds of work; a clock in ms.
 */
export function createLanes<Name extends string>(
  places: number,
  lanes: Readonly<Record<Name, LaneOptions>>,
  now: () => number = () => performance.now(),
): Readonly<Record<Name, Lane>> {
  const states: LaneState[] = [];
  let running = 0;

  const lacking = ({ kept = 0, running: own }: LaneState) => Math.max(0, kept - own);

  /** What is kept for a lane it may always take; of the rest only what is kept for no other, and so many must be left. */
  function hasPlace(lane: LaneState, left: number): boolean {
    if (lacking(lane) > 0 && left === 0) return running < places;
    const kept = states.reduce((sum, other) => sum + (other === lane ? 0 : lacking(other)), 0);
    return running + kept + left < places;
  }

  function spentBy({ spent }: LaneState, name: string): number {
    const { ms, at } = spent.get(name) ?? { ms: 0, at: 0 };
    return ms * 0.5 ** ((now() - at) / halfLifeMs);
  }

  function charge(lane: LaneState, name: string, ms: number): void {
    const total = spentBy(lane, name) + ms;
    lane.spent.delete(name);
    lane.spent.set(name, { ms: total, at: now() });
    // After so many half-lives nothing is left of what anybody took.
    for (const [oldest, { at }] of lane.spent) {
      if (now() - at < 10 * halfLifeMs) break;
      lane.spent.delete(oldest);
    }
  }

  const isHeavy = (lane: LaneState, name: string) => lane.light !== undefined && spentBy(lane, name) > heavyMs;

  function ownerOf(lane: LaneState, name: string): Owner {
    const owner = lane.owners.get(name) ?? { running: 0, line: new Set() };
    lane.owners.set(name, owner);
    return owner;
  }

  const mayRun = (lane: LaneState, owner: Owner, heavy: boolean) =>
    owner.running < (lane.perOwner ?? places) && hasPlace(lane, heavy && lane.running > 0 ? (lane.light ?? 0) : 0);

  function occupy(lane: LaneState, owner: Owner): void {
    running += 1;
    lane.running += 1;
    owner.running += 1;
  }

  /** Begins the next work of a lane, if there is one that may. */
  function beginNext(lane: LaneState): boolean {
    let next: [string, Owner] | undefined;
    for (const [name, owner] of lane.owners) {
      if (owner.line.size === 0) continue;
      const heavy = isHeavy(lane, name);
      if ((heavy && next !== undefined) || !mayRun(lane, owner, heavy)) continue;
      next = [name, owner];
      // Of the heavy ones, which are few, the first; but any other goes before.
      if (!heavy) break;
    }
    if (next === undefined) return false;
    const [name, owner] = next;
    const [begin] = owner.line;
    if (begin === undefined) return false;
    // It goes behind the others.
    lane.owners.delete(name);
    lane.owners.set(name, owner);
    owner.line.delete(begin);
    lane.waiting -= 1;
    occupy(lane, owner);
    begin();
    return true;
  }

  function leave(lane: LaneState, name: string, owner: Owner): void {
    running -= 1;
    lane.running -= 1;
    owner.running -= 1;
    forget(lane, name, owner);
    // The lane that just had a place comes last.
    states.push(...states.splice(states.indexOf(lane), 1));
    while (states.some(beginNext));
  }

  function forget(lane: LaneState, name: string, owner: Owner): void {
    if (owner.running === 0 && owner.line.size === 0) lane.owners.delete(name);
  }

  function wait(lane: LaneState, name: string, owner: Owner, until: number | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const begin = () => {
        clearTimeout(timer);
        resolve();
      };
      owner.line.add(begin);
      lane.waiting += 1;
      if (until === undefined) return;
      timer = setTimeout(
        () => {
          owner.line.delete(begin);
          lane.waiting -= 1;
          forget(lane, name, owner);
          reject(new TurnMissed());
        },
        Math.max(0, until - performance.now()),
      );
    });
  }

  function makeLane(options: LaneOptions): Lane {
    const lane: LaneState = { ...options, running: 0, waiting: 0, owners: new Map(), spent: new Map() };
    states.push(lane);
    return {
      async run(name, work, until) {
        const owner = ownerOf(lane, name);
        if (owner.line.size === 0 && mayRun(lane, owner, isHeavy(lane, name))) occupy(lane, owner);
        else await wait(lane, name, owner, until);
        const began = now();
        try {
          return await work();
        } finally {
          if (options.light !== undefined) charge(lane, name, now() - began);
          leave(lane, name, owner);
        }
      },
      get waiting() {
        return lane.waiting;
      },
    };
  }

  const made = Object.entries<LaneOptions>(lanes).map(([name, options]) => [name, makeLane(options)]);
  return Object.fromEntries(made) as Record<Name, Lane>;
}
