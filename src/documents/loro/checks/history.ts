import type { ContainerID, LoroDoc, OpId, PeerID } from "loro-crdt";
import { lengthOf, parseId, readOperations } from "./oplog.js";

/** What there is in a document's history that its state does not show. */
export interface History {
  /** How many ends of marks are in a text, hidden among its characters. */
  marksIn(container: ContainerID): number;
  /** Whether an operation deleted what the operation `id` had made. */
  hasDeleted(id: OpId): boolean;
}

/** Runs of counters that were deleted, of one peer: sorted, apart. */
type Runs = [start: number, end: number][];

/**
 * Knows the history up to whatever version it was last asked for: it is gone through once, when it is needed for the first time, and
 * afterwards only what is new. Most documents never need it.
 */
export function createHistory(doc: LoroDoc): (upTo: ReadonlyMap<PeerID, number>) => History {
  const known = new Map<PeerID, number>();
  const marks = new Map<ContainerID, number>();
  const deleted = new Map<PeerID, Runs>();

  return (upTo) => {
    for (const [peer, end] of upTo) {
      const start = known.get(peer) ?? 0;
      // Reading nothing costs as much as reading a change.
      if (start >= end) continue;
      for (const { ops } of readOperations(doc, peer, start, end)) {
        for (const { container, content } of ops) {
          if (content.type.startsWith("mark")) marks.set(container, (marks.get(container) ?? 0) + 1);
          if (content.type !== "delete" || content.start_id === undefined) continue;
          const first = parseId(content.start_id);
          const runs = deleted.get(first.peer) ?? [];
          deleted.set(first.peer, runs);
          addRun(runs, first.counter, first.counter + lengthOf(content));
        }
      }
      known.set(peer, end);
    }
    return {
      marksIn: (container) => marks.get(container) ?? 0,
      hasDeleted({ peer, counter }) {
        const runs = deleted.get(peer) ?? [];
        const run = runs[firstEndingAfter(runs, counter)];
        return run !== undefined && run[0] <= counter;
      },
    };
  };
}

/** The first run that ends after `counter`. */
function firstEndingAfter(runs: Runs, counter: number): number {
  let low = 0;
  for (let high = runs.length; low < high; ) {
    const middle = (low + high) >> 1;
    if ((runs[middle]?.[1] ?? 0) > counter) high = middle;
    else low = middle + 1;
  }
  return low;
}

function addRun(runs: Runs, start: number, end: number): void {
  // Those that touch it, from the one that ends where it starts, become one with it.
  const from = firstEndingAfter(runs, start - 1);
  let to = from;
  let [first, last] = [start, end];
  for (let run = runs[to]; run && run[0] <= end; run = runs[++to]) {
    first = Math.min(first, run[0]);
    last = Math.max(last, run[1]);
  }
  runs.splice(from, to - from, [first, last]);
}
