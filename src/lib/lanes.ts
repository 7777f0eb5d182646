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
  /** Places that it may have at most, however many are free. No limit when not given. */
  readonly most?: number;
  /** Works of one owner at once; as many as there are places when not given. */
  readonly perOwner?: number;
  /** Places that heavy owners may have at once, all together, while others work as well; see `createLanes`. No limit when not given. */
  readonly heavy?: number;
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
  readonly line: Set<(heavy: boolean) => void>;
}

/** How soon it is forgotten what an owner took: half of it after so long. So all there is, all the time, adds up to 14,400 ms. */
const halfLifeMs = 10_000;
/** Less than this in all is not judged. */
const littleMs = 250;
/** Works that take more are long, */
const longMs = 25;
/** where they also take so many times as much as most do: on a slow disk all take long, and none of them is at fault. */
const longTimes = 8;
/** From so much on an owner is heavy however short the works are: a quarter of all there is, all the time. */
const muchMs = 3_600;
/** Who has worked in this time still works. */
const recentMs = 1_000;

/** Of what an owner took lately, in ms of all there is: how much, and how much of it was for long works; as of `at`. */
interface Spent {
  readonly ms: number;
  readonly long: number;
  readonly at: number;
}

interface LaneState extends LaneOptions {
  running: number;
  /** Of these, works of owners that were heavy when they began. */
  heavyRunning: number;
  waiting: number;
  /** Those with works, the next to be served first. */
  readonly owners: Map<string, Owner>;
  /** Those who took some longest ago come first. */
  readonly spent: Map<string, Spent>;
  /** What a work takes: half of them more. */
  usualMs: number;
  /** When an owner who is not heavy last began or ended a work. */
  lightAt: number;
  again: NodeJS.Timeout | undefined;
}

/**
 * Fair queueing for a number of places (connections, say) that several kinds of work share. Of each kind some places are kept free, so that
 * none waits for all of another to end; and within a kind the owners take turns, whatever number of works each of them brings, so that
 * who has one waits for one of each of the others at most.
 *
 * Turns are not equal, though. What makes the short works of some slow is not that they wait for a place, but that they share the
 * processors behind the places with works of others. So heavy owners, who took mostly by works much longer than most, or a quarter of all
 * there was, have few places together, and those who took least go first; all others go before them. Heavy is a word
 * of comparison: where everything takes long nobody is, and while nobody else works they may have all places. (Nobody waits for ever: who waits for others takes nothing, and is as all others
 * are soon.)
 *
 * What is taken is not the time that a work takes by the clock, which is long for everybody where many are at work: of each moment every
 * work under way takes its share. What somebody has wait behind works of their own takes a share as well, though it does not run: who always asks for more than they may have at
 * once is heavy before that slows others down, however short the works are.
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
  /** What one work took that has been under way from the beginning, as of `sharedAt`. */
  let shared = 0;
  let sharedAt = now();

  /** The same as of now. To be asked before a work begins or ends. */
  function share(): number {
    shared += (now() - sharedAt) / Math.max(1, running);
    sharedAt = now();
    return shared;
  }

  const lacking = ({ kept = 0, running: own }: LaneState) => Math.max(0, kept - own);

  /** What is kept for a lane it may always take; of the rest only what is kept for no other. */
  function hasPlace(lane: LaneState): boolean {
    if (lane.running >= (lane.most ?? places)) return false;
    if (lacking(lane) > 0) return running < places;
    const kept = states.reduce((sum, other) => sum + (other === lane ? 0 : lacking(other)), 0);
    return running + kept < places;
  }

  function spentBy({ spent }: LaneState, name: string): Omit<Spent, "at"> {
    const { ms, long, at } = spent.get(name) ?? { ms: 0, long: 0, at: 0 };
    const left = 0.5 ** ((now() - at) / halfLifeMs);
    return { ms: ms * left, long: long * left };
  }

  /** In: what a work took, and what it took while it waited behind others of its owner. */
  function charge(lane: LaneState, name: string, ms: number, behindMs: number): void {
    const before = spentBy(lane, name);
    const isLong = ms > Math.max(longMs, longTimes * lane.usualMs);
    lane.spent.delete(name);
    lane.spent.set(name, { ms: before.ms + ms + behindMs, long: before.long + (isLong ? ms : 0), at: now() });
    // A step towards each: where it stays, as many are above as below.
    lane.usualMs *= ms > lane.usualMs ? 1.05 : 1 / 1.05;
    // After so many half-lives nothing is left of what anybody took.
    for (const [oldest, { at }] of lane.spent) {
      if (now() - at < 10 * halfLifeMs) break;
      lane.spent.delete(oldest);
    }
  }

  function isHeavy(lane: LaneState, name: string): boolean {
    if (lane.heavy === undefined) return false;
    const { ms, long } = spentBy(lane, name);
    // A work that is long because others keep the processors busy is one of many of its owner, and makes nobody heavy.
    return ms > muchMs || (ms > littleMs && long > ms / 2);
  }

  function ownerOf(lane: LaneState, name: string): Owner {
    const owner = lane.owners.get(name) ?? { running: 0, line: new Set() };
    lane.owners.set(name, owner);
    return owner;
  }

  /** Whether there is a place for one more heavy work. The first may have one always. */
  const hasHeavyPlace = (lane: LaneState) => lane.heavyRunning < (lane.heavy ?? places) || isLeftToThem(lane);

  /** Whether none but heavy owners have worked for a while. */
  const isLeftToThem = (lane: LaneState) => lane.running === lane.heavyRunning && now() - lane.lightAt > recentMs;

  const mayRun = (lane: LaneState, owner: Owner, heavy: boolean) =>
    owner.running < (lane.perOwner ?? places) && hasPlace(lane) && (!heavy || hasHeavyPlace(lane));

  function occupy(lane: LaneState, owner: Owner, heavy: boolean): void {
    share();
    running += 1;
    lane.running += 1;
    owner.running += 1;
    if (heavy) lane.heavyRunning += 1;
    else lane.lightAt = now();
  }

  /** Whose work is next: of the light ones whose turn it is, then the heavy one who took least. */
  function nextOf(lane: LaneState): { name: string; owner: Owner; heavy: boolean } | undefined {
    let next: { name: string; owner: Owner; heavy: boolean } | undefined;
    let least = Number.POSITIVE_INFINITY;
    for (const [name, owner] of lane.owners) {
      if (owner.line.size === 0) continue;
      const heavy = isHeavy(lane, name);
      if (!mayRun(lane, owner, heavy)) continue;
      if (!heavy) return { name, owner, heavy };
      const { ms } = spentBy(lane, name);
      if (ms >= least) continue;
      least = ms;
      next = { name, owner, heavy };
    }
    return next;
  }

  /** Begins the next work of a lane, if there is one that may. */
  function beginNext(lane: LaneState): boolean {
    const next = nextOf(lane);
    if (next === undefined) return false;
    const { name, owner, heavy } = next;
    const [begin] = owner.line;
    if (begin === undefined) return false;
    // It goes behind the others.
    lane.owners.delete(name);
    lane.owners.set(name, owner);
    owner.line.delete(begin);
    lane.waiting -= 1;
    occupy(lane, owner, heavy);
    begin(heavy);
    return true;
  }

  function leave(lane: LaneState, name: string, owner: Owner, heavy: boolean): void {
    share();
    running -= 1;
    lane.running -= 1;
    owner.running -= 1;
    if (heavy) lane.heavyRunning -= 1;
    else lane.lightAt = now();
    forget(lane, name, owner);
    beginAll(lane);
  }

  /** The lane that just had a place comes last. */
  function beginAll(lane: LaneState): void {
    states.push(...states.splice(states.indexOf(lane), 1));
    while (states.some(beginNext));
    lookAgain(lane);
  }

  /** Heavy works that only wait for the others to be quiet begin when they are, though nothing else happens then. */
  function lookAgain(lane: LaneState): void {
    if (lane.waiting === 0 || lane.again !== undefined || lane.heavyRunning === 0) return;
    lane.again = setTimeout(() => {
      lane.again = undefined;
      beginAll(lane);
    }, recentMs);
    lane.again.unref();
  }

  function forget(lane: LaneState, name: string, owner: Owner): void {
    if (owner.running === 0 && owner.line.size === 0) lane.owners.delete(name);
  }

  /** Out: whether it begins as a heavy one. */
  function wait(lane: LaneState, name: string, owner: Owner, until: number | undefined): Promise<boolean> {
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const begin = (heavy: boolean) => {
        clearTimeout(timer);
        resolve(heavy);
      };
      owner.line.add(begin);
      lane.waiting += 1;
      lookAgain(lane);
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
    const lane: LaneState = {
      ...options,
      running: 0,
      heavyRunning: 0,
      waiting: 0,
      owners: new Map(),
      spent: new Map(),
      usualMs: longMs / longTimes,
      lightAt: Number.NEGATIVE_INFINITY,
      again: undefined,
    };
    states.push(lane);
    return {
      async run(name, work, until) {
        const owner = ownerOf(lane, name);
        let heavy = isHeavy(lane, name);
        const asked = share();
        const isBehindOwn = owner.running + owner.line.size >= (lane.perOwner ?? places);
        if (owner.line.size === 0 && mayRun(lane, owner, heavy)) occupy(lane, owner, heavy);
        else heavy = await wait(lane, name, owner, until);
        const began = share();
        try {
          return await work();
        } finally {
          if (options.heavy !== undefined) charge(lane, name, share() - began, isBehindOwn ? began - asked : 0);
          leave(lane, name, owner, heavy);
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
