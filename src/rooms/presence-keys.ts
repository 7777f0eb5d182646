import { type AckStatus, ackStatus } from "../protocol/protocol.js";
import { costOf, type PresenceEntry } from "./presence-entries.js";
import type { StoredEntry } from "./presence-queries.js";
import type { RoomReader } from "./room.js";
import type { RoomSettings } from "./settings.js";

interface KeptEntry extends PresenceEntry {
  /** Which channel it came through; `elsewhere`: another node, or an earlier reader. */
  readonly source: number;
  readonly keptUntil: number;
  /** Whose key it is; null: nobody's yet. */
  readonly userId: string | null;
  /** Until when it is theirs alone, wherever they are; besides, it is while they have the room open here. */
  heldUntil: number;
  /** Who brought it, whosever key it is; null: not known. */
  readonly broughtBy: string | null;
  /** For whom it is kept in memory. */
  readonly holder: RoomReader | undefined;
}

/** An entry on its way into a room. */
type NewEntry = Omit<KeptEntry, "source">;

/** Where the entries of a channel come from. */
export interface Giver {
  readonly reader: RoomReader;
  readonly userId: string;
  /** Tells this channel from others of the same reader. */
  readonly source: number;
  /** Whether it is what a client knew when it joined. */
  readonly handedOn: boolean;
}

interface Taken {
  readonly status: AckStatus;
  readonly changed: readonly StoredEntry[];
}

/** The source of what other nodes and earlier readers have put. */
const elsewhere = 0;
/** For how long other nodes take a key for its user's alone; see `perch.put_presence`. */
const heldMs = 30_000;
/** How long before it lapses it is renewed: the next time to do so comes well before. */
const renewBeforeMs = 15_000;
const nobodys = { userId: null, heldUntil: 0 };

const storedAs = ({ key, bytes, setAt, userId, broughtBy }: NewEntry, keepMs: number): StoredEntry => ({
  key,
  bytes,
  setAt,
  userId,
  broughtBy,
  keepMs,
  heldMs,
});

/** What one user has brought of what is kept. */
interface Share {
  /** What was set longest ago comes first. */
  readonly entries: Map<string, KeptEntry>;
  bytes: number;
}

/**
 * The latest entry of each key of a presence room, as long as it is fresh.
 *
 * A key belongs to the user who set it: while they are there nobody else can set or delete it, also when what they set is no longer
 * fresh; so that is kept, and not shown. Clients hand on, when they join, all that they know of others, who may be there before or
 * after them: what comes first through a channel makes no key its sender's.
 *
 * Where the room is full, who has less of it than others takes from whoever has most what they set longest ago, up to equal shares;
 * who has most is refused. One that does not fit keeps out no other that comes with it.
 * In: for how long entries are kept; whether a user has the room open here; whether entries are acknowledged when they are stored. Of
 * those the database says whose key it is, or what it did not take would be acknowledged; so its hold is renewed while they are here.
 */
export function createPresenceKeys(
  settings: Pick<RoomSettings, "maxPresenceBytes" | "maxPresenceKeys">,
  keepMs: number,
  isHere: (userId: string) => boolean,
  isPersisted = false,
) {
  const kept = new Map<string, KeptEntry>();
  const shares = new Map<string | null, Share>();
  let bytes = 0;

  function keep(entry: KeptEntry): void {
    const cost = costOf(entry);
    const share = shares.get(entry.broughtBy) ?? { entries: new Map(), bytes: 0 };
    kept.set(entry.key, entry);
    share.entries.set(entry.key, entry);
    share.bytes += cost;
    shares.set(entry.broughtBy, share);
    bytes += cost;
    entry.holder?.hold(cost);
  }

  function drop(entry: KeptEntry): void {
    const cost = costOf(entry);
    const share = shares.get(entry.broughtBy);
    kept.delete(entry.key);
    share?.entries.delete(entry.key);
    if (share !== undefined) share.bytes -= cost;
    if (share?.entries.size === 0) shares.delete(entry.broughtBy);
    bytes -= cost;
    entry.holder?.hold(-cost);
  }

  const owns = ({ userId }: KeptEntry) => userId !== null && isHere(userId);

  /** Forgets what is no longer fresh, but whose key it is while they are there; of these users also that. Out: whether there was any. */
  function prune(now: number, all?: ReadonlySet<string | null>): boolean {
    const before = kept.size;
    for (const entry of kept.values()) {
      if (entry.keptUntil <= now && (!owns(entry) || all?.has(entry.broughtBy))) drop(entry);
    }
    return kept.size < before;
  }

  /** Whether it is the key of another user who is here. */
  function isOwned({ key, userId }: Pick<NewEntry, "key" | "userId">): boolean {
    const known = kept.get(key);
    return known !== undefined && known.userId !== userId && owns(known);
  }

  /** Whether another user's entry has the key for itself. */
  function isTaken(entry: Pick<NewEntry, "key" | "userId">, now: number): boolean {
    const known = kept.get(entry.key);
    if (known === undefined || known.userId === null || known.userId === entry.userId) return false;
    return isOwned(entry) || (known.heldUntil > now && known.keptUntil > now);
  }

  /** Whether there is room for one more that takes so many bytes. */
  const hasRoom = (cost: number) => kept.size < settings.maxPresenceKeys && bytes + cost <= settings.maxPresenceBytes;

  /** Makes room for one more of a user's, out of the shares of those who have more than they with it. Out: whether there is. */
  function makeRoom(cost: number, broughtBy: string | null): boolean {
    const own = shares.get(broughtBy);
    const most = { keys: (own?.entries.size ?? 0) + 1, bytes: (own?.bytes ?? 0) + cost };
    const lacking = () => ({
      keys: kept.size + 1 - settings.maxPresenceKeys,
      bytes: bytes + cost - settings.maxPresenceBytes,
    });
    const { keys, bytes: more } = lacking();
    // Whoever is refused has taken nothing from anybody.
    if (keys > beyond(most.keys, keysOf, own) || more > beyond(most.bytes, bytesOf, own)) return false;
    while (lacking().bytes > 0) drop(oldestOf(largest(bytesOf, own)));
    if (lacking().keys > 0) drop(oldestOf(largest(keysOf, own)));
    return true;
  }

  /** How much others have beyond so much each. */
  function beyond(most: number, sizeOf: (share: Share) => number, own: Share | undefined): number {
    let sum = 0;
    for (const share of shares.values()) if (share !== own) sum += Math.max(0, sizeOf(share) - most);
    return sum;
  }

  function largest(sizeOf: (share: Share) => number, own: Share | undefined): Share {
    const others = [...shares.values()].filter((share) => share !== own);
    return others.reduce((one, other) => (sizeOf(other) > sizeOf(one) ? other : one));
  }

  /** Keeps an entry in the place of what is known of its key. Out: whether there is room for it; if not, what is known stays. */
  function admit(entry: KeptEntry, room: (cost: number, broughtBy: string | null) => boolean): boolean {
    const known = kept.get(entry.key);
    if (known !== undefined) drop(known);
    const fits = room(costOf(entry), entry.broughtBy);
    if (fits) keep(entry);
    else if (known !== undefined) keep(known);
    return fits;
  }

  /**
   * Keeps those that are newer than what is known: first those of known keys, then the newest. In rooms that are full on several nodes, each
   * with others' keys, what is known goes on being updated so.
   * Out: which are kept from now on; whether there was no room for some.
   */
  function merge(entries: readonly NewEntry[], source: number, now: number): { newer: NewEntry[]; full: boolean } {
    const newer = new Map<string, NewEntry>();
    for (const entry of entries) {
      const known = newer.get(entry.key) ?? kept.get(entry.key);
      if (isNewer(entry, source, known, now)) newer.set(entry.key, entry);
    }
    const isNew = (entry: NewEntry) => (kept.has(entry.key) ? 0 : 1);
    let left = [...newer.values()]
      .map((entry) => ({ entry, isNew: isNew(entry) }))
      .sort((one, other) => one.isNew - other.isNew || other.entry.setAt - one.entry.setAt)
      .map(({ entry }) => ({ ...entry, source }));
    left = left.filter((entry) => !admit(entry, hasRoom));
    if (left.length > 0) {
      prune(now);
      left = left.filter((entry) => !admit(entry, makeRoom));
    }
    if (left.length > 0 && prune(now, new Set(left.map(({ broughtBy }) => broughtBy))))
      left = left.filter((entry) => !admit(entry, makeRoom));
    for (const { key } of left) newer.delete(key);
    return { newer: [...newer.values()], full: left.length > 0 };
  }

  return {
    /** What is kept of these keys, or all that is fresh. */
    entries(keys?: Iterable<string>): PresenceEntry[] {
      if (keys !== undefined) return [...keys].flatMap((key) => kept.get(key) ?? []);
      const now = performance.now();
      prune(now);
      return [...kept.values()].filter(({ keptUntil }) => keptUntil > now);
    },
    /** Takes what a client sends. Out: what to answer, and what of it is new. */
    take(given: readonly PresenceEntry[], { reader, userId, source, handedOn }: Giver): Taken {
      const now = performance.now();
      const whose = { keptUntil: now + keepMs, broughtBy: userId, holder: reader };
      const entries: NewEntry[] = [];
      let denied = false;
      for (const one of given) {
        const known = kept.get(one.key);
        const mine = !handedOn || known?.userId === userId;
        const entry = { ...one, ...whose, ...(mine ? { userId, heldUntil: now + heldMs } : nobodys) };
        // What it hands on of others is no attempt at their keys, also when they are no longer fresh here.
        if (!isTaken({ ...entry, userId }, now)) entries.push(entry);
        else if (isNewer(entry, source, known, handedOn ? 0 : now)) denied = true;
      }
      const { newer, full } = merge(entries, source, now);
      const changed = newer.map((entry) => storedAs(entry, keepMs));
      if (full) return { status: ackStatus.payloadTooLarge, changed };
      return { status: denied ? ackStatus.permissionDenied : ackStatus.ok, changed };
    },
    /** Takes what is stored. Out: what of it is new. */
    takeStored(stored: readonly StoredEntry[]): readonly { readonly key: string }[] {
      const now = performance.now();
      const found = stored.map(({ keepMs: keep, heldMs: held, ...entry }) => {
        return { ...entry, keptUntil: now + keep, heldUntil: now + held, holder: undefined };
      });
      for (const entry of found) {
        const known = kept.get(entry.key);
        if (known !== undefined && known.userId === entry.userId && known.setAt === entry.setAt)
          known.heldUntil = Math.max(known.heldUntil, entry.heldUntil);
      }
      // The hold of what is not persisted may have lapsed elsewhere while its user was still.
      const free = isPersisted ? found : found.filter((entry) => !isOwned(entry));
      return merge(free, elsewhere, now).newer;
    },
    /**
     * What of users who are here is theirs alone elsewhere for not much longer, to be stored again.
     * In: how many more it may be of each user, who has as many as a room has places.
     */
    renew(left: Map<string, number>): StoredEntry[] {
      const now = performance.now();
      const lapsing: StoredEntry[] = [];
      for (const entry of kept.values()) {
        const { userId, keptUntil } = entry;
        if (userId === null || !isHere(userId) || keptUntil <= now || entry.heldUntil >= now + renewBeforeMs) continue;
        const places = left.get(userId) ?? settings.maxPresenceKeys;
        if (places === 0) continue;
        left.set(userId, places - 1);
        entry.heldUntil = now + heldMs;
        lapsing.push(storedAs(entry, Math.ceil(keptUntil - now)));
      }
      return lapsing;
    },
    /** What readers of this node have set, to be stored for nodes that came later. */
    own(): StoredEntry[] {
      const now = performance.now();
      const own = [...kept.values()].filter(({ source, keptUntil }) => source !== elsewhere && keptUntil > now);
      return own.map((entry) => storedAs(entry, Math.ceil(entry.keptUntil - now)));
    },
    clear() {
      for (const entry of [...kept.values()]) drop(entry);
    },
  };
}

const keysOf = ({ entries }: Share) => entries.size;
const bytesOf = (share: Share) => share.bytes;

function oldestOf({ entries }: Share): KeptEntry {
  const [oldest] = entries.values();
  if (oldest === undefined) throw new Error("a share without entries is none");
  return oldest;
}

/**
 * The newer entry of a key wins, by its sender's clock. What one sender sets twice within a millisecond comes in its order, and the
 * last counts; stores would keep the first, so it matters that nobody has been given that yet.
 */
function isNewer(
  entry: PresenceEntry,
  source: number,
  known: (PresenceEntry & { source?: number; keptUntil: number }) | undefined,
  now: number,
): boolean {
  // What has expired stands in nobody's way, as in the database (perch.put_presence).
  if (known === undefined || known.keptUntil <= now || entry.setAt > known.setAt) return true;
  const same = entry.setAt === known.setAt && (known.source ?? source) === source;
  return same && !Buffer.from(entry.bytes).equals(known.bytes);
}
