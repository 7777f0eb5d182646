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
  readonly heldUntil: number;
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
const nobodys = { userId: null, heldUntil: 0 };

const storedAs = ({ key, bytes, setAt, userId }: NewEntry, keepMs: number): StoredEntry => ({
  key,
  bytes,
  setAt,
  userId,
  keepMs,
  heldMs,
});

/**
 * The latest entry of each key of a presence room, as long as it is fresh.
 *
 * A key belongs to the user who set it: while they are there nobody else can set or delete it. Clients hand on, when they join, all
 * that they know of others, who may be there before or after them: what comes first through a channel makes no key its sender's.
 * In: for how long entries are kept; whether a user has the room open here.
 */
export function createPresenceKeys(
  settings: Pick<RoomSettings, "maxPresenceBytes" | "maxPresenceKeys">,
  keepMs: number,
  isHere: (userId: string) => boolean,
) {
  const kept = new Map<string, KeptEntry>();
  let bytes = 0;

  function release(entry: KeptEntry | undefined): void {
    if (entry === undefined) return;
    bytes -= costOf(entry);
    entry.holder?.hold(-costOf(entry));
  }

  function prune(now: number): void {
    for (const [key, entry] of kept) {
      if (entry.keptUntil > now) continue;
      kept.delete(key);
      release(entry);
    }
  }

  /** Whether another user's entry has the key for itself. */
  function isTaken({ key, userId }: NewEntry, now: number): boolean {
    const known = kept.get(key);
    if (known === undefined || known.userId === null || known.userId === userId || known.keptUntil <= now) return false;
    return known.heldUntil > now || isHere(known.userId);
  }

  function fits(newer: ReadonlyMap<string, NewEntry>): boolean {
    let [grownBytes, grownKeys] = [bytes, kept.size];
    for (const entry of newer.values()) {
      const known = kept.get(entry.key);
      grownBytes += costOf(entry) - (known ? costOf(known) : 0);
      if (!known) grownKeys++;
    }
    return grownBytes <= settings.maxPresenceBytes && grownKeys <= settings.maxPresenceKeys;
  }

  /** Out: the entries that are newer than what is known, which are kept from now on; undefined when there is no room for them. */
  function merge(entries: readonly NewEntry[], source: number, now: number): NewEntry[] | undefined {
    const newer = new Map<string, NewEntry>();
    for (const entry of entries) {
      const known = newer.get(entry.key) ?? kept.get(entry.key);
      if (isNewer(entry, source, known, now)) newer.set(entry.key, entry);
    }
    if (!fits(newer)) prune(now);
    if (!fits(newer)) return undefined;
    for (const entry of newer.values()) {
      release(kept.get(entry.key));
      bytes += costOf(entry);
      entry.holder?.hold(costOf(entry));
      kept.set(entry.key, { ...entry, source });
    }
    return [...newer.values()];
  }

  return {
    /** What is kept, of these keys or of all. */
    entries: (keys?: Iterable<string>): PresenceEntry[] =>
      keys ? [...keys].flatMap((key) => kept.get(key) ?? []) : [...kept.values()],
    /** Takes what a client sends. Out: what to answer, and what of it is new. */
    take(given: readonly PresenceEntry[], { reader, userId, source, handedOn }: Giver): Taken {
      const now = performance.now();
      const keptUntil = now + keepMs;
      const entries: NewEntry[] = [];
      let denied = false;
      for (const one of given) {
        const known = kept.get(one.key);
        const mine = !handedOn || known?.userId === userId;
        const entry = { ...one, ...(mine ? { userId, heldUntil: now + heldMs } : nobodys), keptUntil, holder: reader };
        // What it hands on of others is no attempt at their keys.
        if (!isTaken({ ...entry, userId }, now)) entries.push(entry);
        else if (isNewer(entry, source, known, now)) denied = true;
      }
      const newer = merge(entries, source, now);
      if (newer === undefined) return { status: ackStatus.payloadTooLarge, changed: [] };
      const changed = newer.map((entry) => storedAs(entry, keepMs));
      return { status: denied ? ackStatus.permissionDenied : ackStatus.ok, changed };
    },
    /** Takes what is stored. Out: what of it is new. */
    takeStored(stored: readonly StoredEntry[]): readonly { readonly key: string }[] {
      const now = performance.now();
      const found = stored.map(({ keepMs: keep, heldMs: held, ...entry }) => {
        return { ...entry, keptUntil: now + keep, heldUntil: now + held, holder: undefined };
      });
      return merge(found, elsewhere, now) ?? [];
    },
    /** What readers of this node have set, to be stored for nodes that came later. */
    own(): StoredEntry[] {
      const now = performance.now();
      const own = [...kept.values()].filter(({ source, keptUntil }) => source !== elsewhere && keptUntil > now);
      return own.map((entry) => storedAs(entry, Math.ceil(entry.keptUntil - now)));
    },
    /** Forgets what is no longer fresh. */
    prune: () => prune(performance.now()),
    clear() {
      for (const entry of kept.values()) release(entry);
      kept.clear();
    },
  };
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
