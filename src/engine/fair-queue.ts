import { remember } from "../lib/bounded-map.js";

/** Calls that wait for one thread. Those of one key stay in order; the keys take turns by how long theirs take. */
export interface FairQueue<Call> {
  push(key: string, call: Call): void;
  /** Takes out the next call, unless what is taken and not `done` is enough. */
  next(): Call | undefined;
  /** A call of this key that was taken is at its end. In: how long it ran, in ms. */
  done(key: string, ms: number): void;
  /** Takes out all calls; of those taken before none is under way any more. */
  clear(): Call[];
  readonly length: number;
}

export interface FairQueueOptions {
  /** Calls taken and not done, at most, */
  readonly atOnce: number;
  /** and as many as are expected to run for so long together; one may always be. */
  readonly aheadMs: number;
  /** A clock in ms. */
  now?(): number;
}

/** Of the thread, what a key may always take without being behind those who ask now and then. */
const freeShare = 0.25;
/** Keys of which is remembered what they took. */
const rememberedKeys = 4_096;
/** How long a call is expected to run while none of its key has. */
const unknownMs = 0.5;

interface Cost {
  /** Where the clock of the key stands; see `createFairQueue`. */
  readonly clock: number;
  readonly usualMs: number;
}

interface Line<Call> {
  readonly key: string;
  readonly calls: Call[];
  /** What its place in the heap says of its clock, which may have gone on. */
  clock: number;
  /** Which of two with the same clock came first. */
  nth: number;
}

const none: Cost = { clock: 0, usualMs: unknownMs };

/**
 * Start-time fair queueing (Goyal, Vin, Cheng: Start-time Fair Queuing, 1996), without weights. Each key has a clock, which goes on by what its
 * calls took; the next call is of the key whose clock is least, and `level` is what that was. Who has not asked for a while
 * starts there: nobody saves up turns. So whose calls are few or short waits for the one that runs, and not for all that others brought
 * before, and who brings much or what takes long waits for their share; nobody starves, since the clocks of those who are served go on.
 *
 * `level` goes on with time as well, slower: so what a key took is forgotten, and one that takes less than that share of the thread is level
 * with all who come anew, however many they are.
 */
export function createFairQueue<Call>({
  atOnce,
  aheadMs,
  now = () => performance.now(),
}: FairQueueOptions): FairQueue<Call> {
  const lines = new Map<string, Line<Call>>();
  const heap: Line<Call>[] = [];
  const costs = new Map<string, Cost>();
  /** How long each call that is under way was expected to run, by key. */
  const taken = new Map<string, number[]>();
  let takenCalls = 0;
  let takenMs = 0;
  let waiting = 0;
  let lastNth = 0;
  let level = 0;
  let risenAt = now();

  const costOf = (key: string) => costs.get(key) ?? none;
  const isBefore = (a: Line<Call>, b: Line<Call>) => a.clock < b.clock || (a.clock === b.clock && a.nth < b.nth);

  function rise(): void {
    level += freeShare * (now() - risenAt);
    risenAt = now();
  }

  function enter(line: Line<Call>): void {
    rise();
    line.clock = Math.max(level, costOf(line.key).clock);
    line.nth = ++lastNth;
    let at = heap.push(line) - 1;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (!swapIfBefore(at, above)) return;
      at = above;
    }
  }

  function leaveFirst(): Line<Call> | undefined {
    const first = heap[0];
    const last = heap.pop();
    if (last === undefined || last === first) return first;
    heap[0] = last;
    for (let at = 0; ; ) {
      const [left, right] = [2 * at + 1, 2 * at + 2];
      const [a, b] = [heap[left], heap[right]];
      const least = a !== undefined && b !== undefined && isBefore(b, a) ? right : left;
      if (!swapIfBefore(least, at)) return first;
      at = least;
    }
  }

  function swapIfBefore(lower: number, upper: number): boolean {
    const [below, above] = [heap[lower], heap[upper]];
    if (below === undefined || above === undefined || !isBefore(below, above)) return false;
    heap[upper] = below;
    heap[lower] = above;
    return true;
  }

  /** The first of the heap, once its place says what its calls cost by now. */
  function first(): Line<Call> | undefined {
    for (;;) {
      const line = heap[0];
      if (line === undefined || line.clock >= costOf(line.key).clock) return line;
      leaveFirst();
      enter(line);
    }
  }

  return {
    push(key, call) {
      waiting += 1;
      const line = lines.get(key);
      if (line !== undefined) {
        line.calls.push(call);
        return;
      }
      const made = { key, calls: [call], clock: 0, nth: 0 };
      lines.set(key, made);
      enter(made);
    },
    next() {
      const line = first();
      if (line === undefined) return undefined;
      const { key } = line;
      const { usualMs } = costOf(key);
      if (takenCalls > 0 && (takenCalls >= atOnce || takenMs + usualMs > aheadMs)) return undefined;
      leaveFirst();
      level = Math.max(level, line.clock);
      remember(costs, key, { clock: line.clock, usualMs }, rememberedKeys);
      const call = line.calls.shift();
      if (line.calls.length > 0) enter(line);
      else lines.delete(key);
      waiting -= 1;
      takenCalls += 1;
      takenMs += usualMs;
      taken.set(key, [...(taken.get(key) ?? []), usualMs]);
      return call;
    },
    done(key, ms) {
      const [expected = 0, ...others] = taken.get(key) ?? [];
      if (others.length > 0) taken.set(key, others);
      else taken.delete(key);
      takenCalls -= 1;
      takenMs = takenCalls === 0 ? 0 : takenMs - expected;
      const { clock, usualMs } = costOf(key);
      remember(costs, key, { clock: clock + ms, usualMs: usualMs + (ms - usualMs) / 4 }, rememberedKeys);
    },
    clear() {
      const calls = [...lines.values()].flatMap((line) => line.calls);
      lines.clear();
      heap.length = 0;
      taken.clear();
      takenCalls = 0;
      takenMs = 0;
      waiting = 0;
      return calls;
    },
    get length() {
      return waiting;
    },
  };
}
