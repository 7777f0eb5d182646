/** Chance that can be had again: the same numbers for the same seed. */
export interface Random {
  /** From 0 up to but without 1. */
  next(): number;
  between(least: number, most: number): number;
  /** A whole number from 0, below `count`. */
  below(count: number): number;
  pick<T>(items: readonly T[]): T;
  /** Another sequence, for somebody who draws at a pace of his own. */
  fork(): Random;
}

export function seeded(seed: number): Random {
  let state = seed >>> 0;
  // mulberry32: also seeds that lie side by side give sequences that have nothing in common.
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    next,
    between: (least, most) => least + next() * (most - least),
    below: (count) => Math.floor(next() * count),
    pick<T>(items: readonly T[]): T {
      const item = items[Math.floor(next() * items.length)];
      if (item === undefined) throw new Error("there is nothing to pick from");
      return item;
    },
    fork: () => seeded(Math.floor(next() * 2 ** 32)),
  };
}
