/** Sets a key as the newest of a map, which forgets its oldest beyond `max`. For what may be forgotten, and must not grow without end. */
export function remember<Key, Value>(map: Map<Key, Value>, key: Key, value: Value, max: number): void {
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= max) return;
    map.delete(oldest);
  }
}
