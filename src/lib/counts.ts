export interface Counts {
  /** Counts one more. Out: whether that was within the limit; if not, it was not counted. */
  take(key: string): boolean;
  give(key: string): void;
}

/** How many of something each key has; a limit of 0 is none. */
export function createCounts(limit: number): Counts {
  const counts = new Map<string, number>();
  return {
    take(key) {
      const count = counts.get(key) ?? 0;
      if (limit > 0 && count >= limit) return false;
      counts.set(key, count + 1);
      return true;
    },
    give(key) {
      const count = counts.get(key) ?? 0;
      if (count > 1) counts.set(key, count - 1);
      else counts.delete(key);
    },
  };
}
