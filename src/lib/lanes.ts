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

interface LaneState extends LaneOptions {
  running: number;
  waiting: number;
  /** Those with works, the next to be served first. */
  readonly owners: Map<string, Owner>;
}

/**
 * Fair queueing for a number of places (connections, say) that several kinds of work share. Of each kind some places are kept free, so that
 * none waits for all of another to end; and within a kind the owners take turns, whatever number of works each of them brings, so that
 * who has one waits for one of each of the others at most.
 */
export function createLanes<Name extends string>(
  places: number,
  lanes: Readonly<Record<Name, LaneOptions>>,
): Readonly<Record<Name, Lane>> {
  const states: LaneState[] = [];
  let running = 0;

  const lacking = ({ kept = 0, running: own }: LaneState) => Math.max(0, kept - own);

  /** What is kept for a lane it may always take; of the rest only what is kept for no other. */
  function hasPlace(lane: LaneState): boolean {
    if (lacking(lane) > 0) return running < places;
    return running + states.reduce((sum, other) => sum + lacking(other), 0) < places;
  }

  function ownerOf(lane: LaneState, name: string): Owner {
    const owner = lane.owners.get(name) ?? { running: 0, line: new Set() };
    lane.owners.set(name, owner);
    return owner;
  }

  const mayRun = (lane: LaneState, owner: Owner) => owner.running < (lane.perOwner ?? places) && hasPlace(lane);

  function occupy(lane: LaneState, owner: Owner): void {
    running += 1;
    lane.running += 1;
    owner.running += 1;
  }

  /** Begins the next work of a lane, if there is one that may. */
  function beginNext(lane: LaneState): boolean {
    for (const [name, owner] of lane.owners) {
      const [begin] = owner.line;
      if (begin === undefined || !mayRun(lane, owner)) continue;
      // It goes behind the others.
      lane.owners.delete(name);
      lane.owners.set(name, owner);
      owner.line.delete(begin);
      lane.waiting -= 1;
      occupy(lane, owner);
      begin();
      return true;
    }
    return false;
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
    const lane: LaneState = { ...options, running: 0, waiting: 0, owners: new Map() };
    states.push(lane);
    return {
      async run(name, work, until) {
        const owner = ownerOf(lane, name);
        if (owner.line.size === 0 && mayRun(lane, owner)) occupy(lane, owner);
        else await wait(lane, name, owner, until);
        try {
          return await work();
        } finally {
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
