/** What goes in one statement: once either is reached, nothing more is added. */
export interface BatchBounds {
  readonly items: number;
  readonly bytes: number;
}

/** The first of those that wait, as many as go together: at least one, if there is one. */
export function takeBatch<T>(waiting: Iterable<T>, bounds: BatchBounds, sizeOf: (item: T) => BatchBounds): T[] {
  const batch: T[] = [];
  let items = 0;
  let bytes = 0;
  for (const item of waiting) {
    if (items >= bounds.items || bytes >= bounds.bytes) break;
    batch.push(item);
    const size = sizeOf(item);
    items += size.items;
    bytes += size.bytes;
  }
  return batch;
}
