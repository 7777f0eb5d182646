import { type Key, nameOf } from "./rows.js";

/** Keys of rows, each once. */
export interface Keys {
  add(relation: string, key: Key): void;
  addAll(others: Keys): void;
  /** Out: whether it was there. */
  remove(relation: string, key: Key): boolean;
  of(relation: string): Key[];
  entries(): Iterable<[string, Map<string, Key>]>;
  size(): number;
  /** Some, for people. */
  sample(): string;
}

export function createKeys(from?: Keys): Keys {
  const known = new Map<string, Map<string, Key>>();
  const keys: Keys = {
    add(relation, key) {
      const own = known.get(relation) ?? new Map<string, Key>();
      known.set(relation, own.set(nameOf(key), key));
    },
    addAll(others) {
      for (const [relation, own] of others.entries()) for (const key of own.values()) keys.add(relation, key);
    },
    remove: (relation, key) => known.get(relation)?.delete(nameOf(key)) ?? false,
    of: (relation) => [...(known.get(relation)?.values() ?? [])],
    entries: () => known,
    size: () => [...known.values()].reduce((sum, own) => sum + own.size, 0),
    sample: () =>
      [...known]
        .flatMap(([relation, own]) => [...own.keys()].slice(0, 3).map((key) => `${relation} ${key}`))
        .join("; "),
  };
  if (from !== undefined) keys.addAll(from);
  return keys;
}
