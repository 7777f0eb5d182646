/** Something that is due at a time of its own. */
export interface Due {
  /** As of `performance.now()`; kept by `Deadlines`, where 0 says that it is not due at all. */
  dueAt: number;
}

/** One timer for all that is due: a timer of its own for each of many thousand would cost more than they do. */
export interface Deadlines<T extends Due> {
  /** It is due at this time, or as soon as can be, and no more at the one set before. */
  set(item: T, at: number): void;
  remove(item: T): void;
}

/** A timer takes no longer time than this. */
const longestMs = 2 ** 31 - 1;

/**
 * A timer wheel: what is due within the same few milliseconds is in one slot, and told of together at its end. In: what is told of each, once; it does
 * not throw.
 */
export function createDeadlines<T extends Due>(isDue: (item: T) => void, slotMs: number): Deadlines<T> {
  /** By the time that they end at, in slots. */
  const slots = new Map<number, Set<T>>();
  let timer: NodeJS.Timeout | undefined;
  /** The slot that the timer is for. */
  let armedFor = Number.POSITIVE_INFINITY;

  const slotOf = (at: number) => Math.ceil(at / slotMs);

  function arm(slot: number): void {
    clearTimeout(timer);
    timer = undefined;
    armedFor = slot;
    if (slot !== Number.POSITIVE_INFINITY)
      timer = setTimeout(pass, Math.min(longestMs, Math.max(1, slot * slotMs - performance.now())));
  }

  function pass(): void {
    const now = performance.now();
    for (const [slot, items] of [...slots]) {
      if (slot * slotMs > now) continue;
      // What is told of one may take others out, or put them in again, behind now.
      for (const item of items) {
        items.delete(item);
        item.dueAt = 0;
        isDue(item);
      }
      slots.delete(slot);
    }
    let next = Number.POSITIVE_INFINITY;
    for (const slot of slots.keys()) next = Math.min(next, slot);
    arm(next);
  }

  function remove(item: T): void {
    if (item.dueAt === 0) return;
    const slot = slotOf(item.dueAt);
    const others = slots.get(slot);
    others?.delete(item);
    if (others?.size === 0) slots.delete(slot);
    item.dueAt = 0;
    if (slots.size === 0) arm(Number.POSITIVE_INFINITY);
  }

  return {
    set(item, at) {
      remove(item);
      // Never in one that is being told of.
      item.dueAt = Math.max(at, (Math.floor(performance.now() / slotMs) + 1) * slotMs);
      const slot = slotOf(item.dueAt);
      const others = slots.get(slot);
      if (others === undefined) slots.set(slot, new Set([item]));
      else others.add(item);
      if (slot < armedFor) arm(slot);
    },
    remove,
  };
}
