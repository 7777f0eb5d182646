/** Chance that can be had again: by its seed. */
export interface Chance {
  /** From 0 up to, but not, this. */
  below(end: number): number;
  pick<T>(values: readonly T[]): T;
  /** Whether something of this probability happens. */
  is(probability: number): boolean;
  /** Some of them, in their order, each by this probability. */
  some<T>(values: readonly T[], probability?: number): T[];
  /** Another one, which gives the same whatever is taken from this one later. */
  fork(): Chance;
}

/** In: a whole number. (The generator is mulberry32.) */
export function chanceOf(seed: number): Chance {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (end: number) => Math.floor(next() * end);
  return {
    below,
    pick: (values) => values[below(values.length)] as (typeof values)[number],
    is: (probability) => next() < probability,
    some: (values, probability = 0.5) => values.filter(() => next() < probability),
    fork: () => chanceOf(below(2 ** 32)),
  };
}
