import { seeded } from "../../../scripts/faults/random.js";

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

/** In: a whole number. */
export function chanceOf(seed: number): Chance {
  const random = seeded(seed);
  return {
    below: random.below,
    pick: random.pick,
    is: (probability) => random.next() < probability,
    some: (values, probability = 0.5) => values.filter(() => random.next() < probability),
    fork: () => chanceOf(random.below(2 ** 32)),
  };
}
