/** What waits in a line. Taking the first costs the same however many there are; an array that is long moves all of them each time. */
export interface Queue<T> extends Iterable<T> {
  readonly length: number;
  readonly first: T | undefined;
  push(item: T): void;
  /** Takes so many of the first. */
  take(count: number): T[];
  shift(): T | undefined;
  /** Others take the place of all. */
  become(items: T[]): void;
}

export function createQueue<T>(): Queue<T> {
  let items: (T | undefined)[] = [];
  /** What is before it has been taken. */
  let head = 0;

  function take(count: number): T[] {
    const taken = items.slice(head, head + count) as T[];
    items.fill(undefined, head, head + taken.length);
    head += taken.length;
    if (head * 2 >= items.length) {
      items = items.slice(head);
      head = 0;
    }
    return taken;
  }

  return {
    get length() {
      return items.length - head;
    },
    get first() {
      return items[head];
    },
    push: (item) => void items.push(item),
    take,
    shift: () => take(1)[0],
    become(others) {
      items = others;
      head = 0;
    },
    *[Symbol.iterator]() {
      const all = items;
      for (let at = head; at < all.length; at++) yield all[at] as T;
    },
  };
}
