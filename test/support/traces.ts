import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";

/** [position, characters deleted, text inserted]; positions and counts in unicode code points. */
export type TracePatch = [position: number, deleted: number, inserted: string];

export interface ConcurrentTransaction {
  /** The transactions this one was typed after; it applies to their merge. */
  parents: number[];
  agent: number;
  patches: TracePatch[];
}

/** Several people typing into one text at once. */
export interface ConcurrentTrace {
  kind: "concurrent";
  endContent: string;
  numAgents: number;
  txns: ConcurrentTransaction[];
}

/** One person typing. */
export interface SequentialTrace {
  startContent: string;
  endContent: string;
  txns: { patches: TracePatch[] }[];
}

/**
 * The recorded session of two people (`friendsforever` of the editing-traces collection), from the folder PERCH_TRACES names; where it is not
 * set, a generated session of the same shape, the same for the same seed.
 */
export function concurrentTrace(seed = 1): ConcurrentTrace {
  return read<ConcurrentTrace>("friendsforever") ?? generateConcurrent(seed);
}

/** The recorded writing of a paper (`automerge-paper`), or a generated one of `edits` edits. */
export function sequentialTrace(edits = 20_000, seed = 1): SequentialTrace {
  return read<SequentialTrace>("automerge-paper") ?? generateSequential(edits, seed);
}

function read<Trace>(name: string): Trace | undefined {
  const folder = process.env.PERCH_TRACES;
  if (!folder) return undefined;
  return JSON.parse(gunzipSync(readFileSync(join(folder, `${name}.json.gz`))).toString("utf8")) as Trace;
}

/** A small generator of pseudo-random numbers (mulberry32): tests that fail can be run again. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), state | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}

const letters = [..."etaoin shrdlu etaoin cmfwyp é🎉\n"];
const separator = [..."\n----\n"];

/**
 * Two authors, each in a half of the text of their own: however a merge orders concurrent insertions at one place, the result is
 * the same, since there are none. They see each other's typing now and then, and are concurrent in between.
 */
function generateConcurrent(seed: number, count = 4_000): ConcurrentTrace {
  const random = seededRandom(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const txns: ConcurrentTransaction[] = [{ parents: [], agent: 0, patches: [[0, 0, separator.join("")]] }];
  const halves: [string[], string[]] = [[], []];
  /** Per author: the last transaction of their own, the last of the other that they have seen, the left half's length then, the caret. */
  const authors = [0, 1].map(() => ({ own: 0, other: 0, left: 0, at: 0 }));
  while (txns.length < count) {
    const agent = below(2) as 0 | 1;
    const me = authors[agent];
    const them = authors[1 - agent];
    if (!me || !them) break;
    const parents = [me.own];
    if (random() < 0.3 && them.own > me.other) {
      me.other = them.own;
      if (agent === 1) me.left = halves[0].length;
      parents.push(me.other);
    }
    const half = halves[agent];
    const patches: TracePatch[] = [];
    for (let stroke = 1 + below(6); stroke > 0; stroke--) {
      if (random() < 0.2) me.at = below(half.length + 1);
      me.at = Math.min(me.at, half.length);
      const offset = agent === 0 ? 0 : me.left + separator.length;
      if (random() < 0.15 && me.at > 0) {
        const deleted = Math.min(me.at, 1 + below(3));
        me.at -= deleted;
        half.splice(me.at, deleted);
        patches.push([offset + me.at, deleted, ""]);
      } else {
        const letter = letters[below(letters.length)] ?? "e";
        half.splice(me.at, 0, letter);
        patches.push([offset + me.at, 0, letter]);
        me.at++;
      }
    }
    me.own = txns.length;
    txns.push({ parents, agent, patches });
  }
  return { kind: "concurrent", endContent: [...halves[0], ...separator, ...halves[1]].join(""), numAgents: 2, txns };
}

function generateSequential(edits: number, seed: number): SequentialTrace {
  const random = seededRandom(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const text: string[] = [];
  const txns: SequentialTrace["txns"] = [];
  let at = 0;
  while (txns.length < edits) {
    if (random() < 0.05) at = below(text.length + 1);
    const deleted = random() < 0.15 ? Math.min(at, 1 + below(4)) : 0;
    const letter = deleted > 0 ? "" : (letters[below(letters.length)] ?? "e");
    at -= deleted;
    text.splice(at, deleted, ...(letter === "" ? [] : [letter]));
    txns.push({ patches: [[at, deleted, letter]] });
    if (letter !== "") at++;
  }
  return { startContent: "", endContent: text.join(""), txns };
}
