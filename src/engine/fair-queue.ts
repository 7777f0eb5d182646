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
/** From so many keys on those are forgotten of which nothing has to be known. */
const manyKeys = 1_024;
/** How long a call is expected to run while none of its key has. */
const unknownMs = 0.5;

/** What is known of a key. */
interface Line<Call> {
  readonly calls: Call[];
  /** How long each call that is under way was expected to run, in ms. */
  readonly taken: number[];
  usualMs: number;
  /** See `createFairQueue`. */
  clock: number;
  /** What its place in the heap says of its clock, which may have gone on. */
  placed: number;
  /** Which of two with the same clock came first. */
  nth: number;
}

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
  /** Those with calls that wait: a binary heap. */
  const heap: Line<Call>[] = [];
  let takenCalls = 0;
  let takenMs = 0;
  let waiting = 0;
  let lastNth = 0;
  let level = 0;
  let risenAt = now();
  let sweepAt = manyKeys;

  function rise(): void {
    level += freeShare * (now() - risenAt);
    risenAt = now();
  }

  /** Of one that asks for nothing and is not ahead of those who come anew there is nothing to know. */
  function sweep(): void {
    for (const [key, line] of lines) {
      if (line.calls.length + line.taken.length === 0 && line.clock <= level) lines.delete(key);
    }
    sweepAt = 2 * Math.max(manyKeys, lines.size);
  }

  function lineOf(key: string): Line<Call> {
    let line = lines.get(key);
    if (line === undefined) {
      if (lines.size >= sweepAt) sweep();
      line = { calls: [], taken: [], usualMs: unknownMs, clock: 0, placed: 0, nth: 0 };
      lines.set(key, line);
    }
    return line;
  }

  const isBefore = (a: Line<Call>, b: Line<Call>) => a.placed < b.placed || (a.placed === b.placed && a.nth < b.nth);

  function enter(line: Line<Call>): void {
    line.clock = Math.max(level, line.clock);
    line.placed = line.clock;
    line.nth = ++lastNth;
    let at = heap.length;
    heap.push(line);
    while (at > 0) {
      const above = (at - 1) >> 1;
      const other = heap[above];
      if (other === undefined || !isBefore(line, other)) break;
      heap[at] = other;
      at = above;
    }
    heap[at] = line;
  }

  function leaveFirst(): void {
    const line = heap.pop();
    if (line === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      let other = heap[below];
      if (other === undefined) break;
      const right = heap[below + 1];
      if (right !== undefined && isBefore(right, other)) {
        below += 1;
        other = right;
      }
      if (!isBefore(other, line)) break;
      heap[at] = other;
      at = below;
    }
    heap[at] = line;
  }

  /** The first of the heap, once its place is where its clock stands. */
  function first(): Line<Call> | undefined {
    for (;;) {
      const line = heap[0];
      if (line === undefined || line.placed >= line.clock) return line;
      leaveFirst();
      enter(line);
    }
  }

  return {
    push(key, call) {
      waiting += 1;
      const line = lineOf(key);
      rise();
      if (line.calls.push(call) === 1) enter(line);
    },
    next() {
      const line = first();
      if (line === undefined) return undefined;
      const { usualMs } = line;
      if (takenCalls > 0 && (takenCalls >= atOnce || takenMs + usualMs > aheadMs)) return undefined;
      level = Math.max(level, line.placed);
      leaveFirst();
      const call = line.calls.shift();
      if (line.calls.length > 0) enter(line);
      waiting -= 1;
      takenCalls += 1;
      takenMs += usualMs;
      line.taken.push(usualMs);
      return call;
    },
    done(key, ms) {
      const line = lineOf(key);
      takenCalls -= 1;
      takenMs = takenCalls === 0 ? 0 : takenMs - (line.taken.shift() ?? 0);
      line.clock += ms;
      line.usualMs += (ms - line.usualMs) / 4;
    },
    clear() {
      const calls = [...lines.values()].flatMap((line) => line.calls);
      lines.clear();
      heap.length = 0;
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
