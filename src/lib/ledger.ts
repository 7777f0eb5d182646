/**
 * What this process holds in memory for whom: everything that waits to be read, merged, answered or sent, in one place. What one
 * user can make it hold is bounded by a share, whatever it consists of; all who have not shown a token are one user here.
 */
export interface Ledger {
  /** Counts so many bytes more for an owner (negative: fewer). */
  add(owner: string, bytes: number): void;
  /** Whether so many bytes more are within the owner's share. */
  fits(owner: string, bytes: number): boolean;
  /**
   * Takes room for something large that somebody will read, as a backfill; resolves with the function that gives it back. Whoever is
   * over the share waits, behind what that owner asked for before. One that is larger than the whole share gets it when nothing else is reserved.
   * Undefined where `gone` was aborted while it waited.
   */
  reserve(owner: string, bytes: number, gone: AbortSignal): Promise<Reservation | undefined>;
  reserve(owner: string, bytes: number): Promise<Reservation>;
  /** Who holds more than the share, and how much more; what is reserved does not count: waiting bounds that. */
  over(): { readonly owner: string; readonly bytes: number }[];
  /** Bytes held for all together. */
  total(): number;
  /** Bytes held for the one for whom most is held. */
  most(): number;
}

export interface Reservation {
  /** What it turned out to be. */
  resize(bytes: number): void;
  /** Gives it back; safe to call twice. */
  release(): void;
}

/** The owner of what is held for those who have shown no token. */
export const strangers = "";

interface Waiting {
  readonly bytes: number;
  /** Undefined: it waited in vain. */
  readonly enter: (entered: true | undefined) => void;
}

interface Share {
  held: number;
  reserved: number;
  readonly line: Waiting[];
}

/** In: how many bytes may be held for one owner. */
export function createLedger(shareBytes: number): Ledger {
  const shares = new Map<string, Share>();
  let total = 0;

  function shareOf(owner: string): Share {
    let share = shares.get(owner);
    if (share === undefined) {
      share = { held: 0, reserved: 0, line: [] };
      shares.set(owner, share);
    }
    return share;
  }

  /** The first may enter however large it is: it will be read, or cut off; but not where the share is used up by what waits to be read. */
  const mayEnter = ({ held, reserved }: Share, bytes: number) =>
    (reserved === 0 && held < shareBytes) || held + reserved + bytes <= shareBytes;

  function settle(owner: string, share: Share): void {
    for (let next = share.line[0]; next !== undefined && mayEnter(share, next.bytes); next = share.line[0]) {
      share.line.shift();
      take(share, next.bytes);
      next.enter(true);
    }
    if (share.held === 0 && share.reserved === 0 && share.line.length === 0) shares.delete(owner);
  }

  function take(share: Share, bytes: number): void {
    share.reserved += bytes;
    total += bytes;
  }

  function leave(owner: string, share: Share, waiting: Waiting): void {
    const place = share.line.indexOf(waiting);
    if (place < 0) return;
    share.line.splice(place, 1);
    waiting.enter(undefined);
    // It may have been the one that all behind it waited for.
    settle(owner, share);
  }

  /** Out: undefined when `gone` came first. */
  function inLine(owner: string, share: Share, bytes: number, gone?: AbortSignal): Promise<true | undefined> {
    return new Promise((enter) => {
      const waiting = {
        bytes,
        enter(entered: true | undefined) {
          gone?.removeEventListener("abort", left);
          enter(entered);
        },
      };
      share.line.push(waiting);
      const left = () => leave(owner, share, waiting);
      if (gone?.aborted) left();
      else gone?.addEventListener("abort", left, { once: true });
    });
  }

  async function reserve(owner: string, bytes: number): Promise<Reservation>;
  async function reserve(owner: string, bytes: number, gone: AbortSignal): Promise<Reservation | undefined>;
  async function reserve(owner: string, bytes: number, gone?: AbortSignal): Promise<Reservation | undefined> {
    const share = shareOf(owner);
    if (share.line.length > 0 || !mayEnter(share, bytes)) {
      if (!(await inLine(owner, share, bytes, gone))) return undefined;
    } else take(share, bytes);
    let current = bytes;
    const resize = (to: number) => {
      take(share, to - current);
      current = to;
      settle(owner, share);
    };
    return { resize, release: () => resize(0) };
  }

  return {
    add(owner, bytes) {
      const share = shareOf(owner);
      share.held += bytes;
      total += bytes;
      if (bytes < 0) settle(owner, share);
    },
    fits(owner, bytes) {
      const { held, reserved } = shares.get(owner) ?? { held: 0, reserved: 0 };
      return held + reserved + bytes <= shareBytes;
    },
    reserve,
    over: () =>
      [...shares].flatMap(([owner, { held }]) => (held > shareBytes ? [{ owner, bytes: held - shareBytes }] : [])),
    total: () => total,
    most: () => Math.max(0, ...[...shares.values()].map(({ held, reserved }) => held + reserved)),
  };
}

/** What one connection holds; what it is charged to can change, when it shows who it speaks for. */
export interface Account {
  /** So many bytes more (negative: fewer). */
  add(bytes: number): void;
  /** Whether so many more are within its owner's share. */
  fits(bytes: number): boolean;
  /** See `Ledger`. */
  reserve(bytes: number, gone: AbortSignal): Promise<Reservation | undefined>;
  reserve(bytes: number): Promise<Reservation>;
  /** From now on it is this owner's, with all that it holds. */
  become(owner: string): void;
  owner(): string;
  /** Bytes held, without what is reserved. */
  held(): number;
  /** Gives all back; what is added from then on does not count. */
  close(): void;
}

/** A class, since thousands of these are held by requests and sockets that only wait: functions of its own would cost each half a kilobyte. */
class HeldAccount implements Account {
  readonly #ledger: Ledger;
  #owner = strangers;
  #held = 0;
  #closed = false;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  add(bytes: number): void {
    if (this.#closed) return;
    this.#held += bytes;
    this.#ledger.add(this.#owner, bytes);
  }

  fits(bytes: number): boolean {
    return this.#ledger.fits(this.#owner, bytes);
  }

  reserve(bytes: number): Promise<Reservation>;
  reserve(bytes: number, gone: AbortSignal): Promise<Reservation | undefined>;
  reserve(bytes: number, gone?: AbortSignal): Promise<Reservation | undefined> {
    return gone === undefined
      ? this.#ledger.reserve(this.#owner, bytes)
      : this.#ledger.reserve(this.#owner, bytes, gone);
  }

  become(next: string): void {
    if (next === this.#owner) return;
    this.#ledger.add(next, this.#held);
    this.#ledger.add(this.#owner, -this.#held);
    this.#owner = next;
  }

  owner(): string {
    return this.#owner;
  }

  held(): number {
    return this.#held;
  }

  close(): void {
    this.#ledger.add(this.#owner, -this.#held);
    this.#held = 0;
    this.#closed = true;
  }
}

export const openAccount = (ledger: Ledger): Account => new HeldAccount(ledger);
