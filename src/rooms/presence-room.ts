import { documentId } from "../documents/key.js";
import { updateFrames } from "../protocol/encode.js";
import { type AckStatus, ackStatus } from "../protocol/protocol.js";
import type { Channel, Entry, OpenChannel, RoomReader } from "./channel.js";
import { costOf, type PresenceEntry, presenceEntries, presenceUpdate } from "./presence-entries.js";
import type { PresenceExchange } from "./presence-exchange.js";
import type { PresenceAddress, PresenceKind, StoredEntry } from "./presence-queries.js";
import type { RoomSettings } from "./settings.js";

export interface Presence {
  /** How rooms of a kind are opened. */
  open(kind: PresenceKind): OpenChannel;
  /** Rooms in memory, each with at least one reader. */
  readonly rooms: number;
  /** Takes what other nodes have put into a room. */
  arrived(room: PresenceAddress, entries: readonly StoredEntry[]): void;
  /** Stores what the rooms of this node hold, for nodes that came later. */
  share(): void;
}

interface KeptEntry extends PresenceEntry {
  /** Which channel it came through; 0: another node, or an earlier reader. */
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

interface Room {
  readonly address: PresenceAddress;
  /** And on whose behalf. */
  readonly readers: Map<RoomReader, string>;
  readonly entries: Map<string, KeptEntry>;
  /** Keys that changed since the last flush. */
  readonly changed: Set<string>;
  /** Who changed them, when it was one reader only. */
  origin: RoomReader | "several" | undefined;
  /** Readers that missed a flush, and are given everything when they can take it. */
  readonly behind: Set<RoomReader>;
  /** What other nodes and earlier readers have put is read, or being read. */
  loaded: Promise<void> | undefined;
  bytes: number;
  flushedAt: number;
  timer: NodeJS.Timeout | undefined;
}

/** The version of an empty document: presence has none of its own. */
const version = new Uint8Array(1);
const retryMs = 250;
/** A key has to fit an index of the database. */
const maxKeyBytes = 1_024;
const elsewhere = 0;
/** How far a client's clock may be ahead of this one. */
const clockToleranceMs = 5_000;
/** For how long other nodes take a key for its user's alone; see `perch.put_presence`. */
const heldMs = 30_000;

/**
 * Presence rooms. The latest entry of each key is kept while the room has readers and the entry is fresh, for those who come
 * later; changes are passed on together, at most once an interval. Of an ephemeral room without readers nothing is left; the entries
 * of a persisted one are in the database for as long as they count, and acknowledged once they are.
 *
 * A key belongs to the user who set it: while they are there nobody else can set or delete it. Clients hand on, when they join, all
 * that they know of others, who may be there before or after them: what comes first through a channel makes no key its sender's.
 */
export function createPresence(settings: RoomSettings, exchange: PresenceExchange): Presence {
  const rooms = new Map<string, Room>();
  let lastSource = elsewhere;

  const keepMs = (kind: PresenceKind) =>
    kind === "persisted" ? settings.persistedPresenceMs : settings.presenceTimeoutMs;

  function prune(room: Room, now: number): void {
    for (const [key, entry] of room.entries) {
      if (entry.keptUntil > now) continue;
      room.entries.delete(key);
      room.changed.delete(key);
      release(room, entry);
    }
  }

  function release(room: Room, entry: KeptEntry | undefined): void {
    if (entry === undefined) return;
    room.bytes -= costOf(entry);
    entry.holder?.hold(-costOf(entry));
  }

  /** Whether another user's entry has the key for itself. */
  function isTaken(room: Room, { key, userId }: NewEntry, now: number): boolean {
    const known = room.entries.get(key);
    if (known === undefined || known.userId === null || known.userId === userId || known.keptUntil <= now) return false;
    return known.heldUntil > now || [...room.readers.values()].includes(known.userId);
  }

  /** Out: the entries that are newer than what is known, which are kept from now on; undefined when the room has no room for them. */
  function merge(room: Room, entries: readonly NewEntry[], source: number, now: number): NewEntry[] | undefined {
    const newer = new Map<string, NewEntry>();
    for (const entry of entries) {
      const known = newer.get(entry.key) ?? room.entries.get(entry.key);
      if (isNewer(entry, source, known, now)) newer.set(entry.key, entry);
    }
    const fits = () => {
      const { bytes, keys } = growth(room, newer.values());
      return room.bytes + bytes <= settings.maxPresenceBytes && room.entries.size + keys <= settings.maxPresenceKeys;
    };
    if (!fits()) prune(room, now);
    if (!fits()) return undefined;
    for (const entry of newer.values()) {
      release(room, room.entries.get(entry.key));
      room.bytes += costOf(entry);
      entry.holder?.hold(costOf(entry));
      room.entries.set(entry.key, { ...entry, source });
    }
    return [...newer.values()];
  }

  /** In: whether it is what a client knew when it joined. */
  function take(room: Room, given: readonly PresenceEntry[], from: RoomReader, source: number, handedOn: boolean) {
    const now = performance.now();
    const keep = keepMs(room.address.kind);
    const userId = room.readers.get(from) ?? null;
    const entries: NewEntry[] = [];
    let denied = false;
    for (const one of given) {
      const known = room.entries.get(one.key);
      const mine = !handedOn || known?.userId === userId;
      const held = mine && userId !== null ? now + heldMs : 0;
      const entry = { ...one, userId: mine ? userId : null, keptUntil: now + keep, heldUntil: held, holder: from };
      // What it hands on of others is no attempt at their keys.
      if (!isTaken(room, { ...entry, userId }, now)) entries.push(entry);
      else if (isNewer(entry, source, known, now)) denied = true;
    }
    const newer = merge(room, entries, source, now);
    if (newer === undefined) return ackStatus.payloadTooLarge;
    const status = denied ? ackStatus.permissionDenied : ackStatus.ok;
    if (newer.length === 0) return status;
    for (const { key } of newer) room.changed.add(key);
    room.origin = room.origin === undefined || room.origin === from ? from : "several";
    schedule(room, Math.max(0, room.flushedAt + settings.presenceIntervalMs - now));
    const stored = () =>
      exchange.store(
        room.address,
        newer.map(({ key, bytes, setAt, userId: of }) => ({ key, bytes, setAt, userId: of, keepMs: keep, heldMs })),
      );
    if (room.address.kind === "persisted") {
      return stored().then<AckStatus, AckStatus>(
        () => status,
        () => ackStatus.unknown,
      );
    }
    // It is not promised to anybody, and the exchange reports what fails.
    if (exchange.hasOthers()) stored().catch(() => undefined);
    return status;
  }

  function mergeStored(room: Room, entries: readonly StoredEntry[]): NewEntry[] {
    const now = performance.now();
    const found = entries.map(({ keepMs, heldMs, ...entry }) => ({
      ...entry,
      keptUntil: now + keepMs,
      heldUntil: now + heldMs,
      holder: undefined,
    }));
    return merge(room, found, elsewhere, now) ?? [];
  }

  function takeNews(room: Room, entries: readonly StoredEntry[]): void {
    const now = performance.now();
    const newer = mergeStored(room, entries);
    if (newer.length === 0) return;
    for (const { key } of newer) room.changed.add(key);
    room.origin = "several";
    schedule(room, Math.max(0, room.flushedAt + settings.presenceIntervalMs - now));
  }

  function schedule(room: Room, delay: number): void {
    if (room.readers.size > 0) room.timer ??= setTimeout(() => flush(room), delay);
  }

  function flush(room: Room): void {
    room.timer = undefined;
    room.flushedAt = performance.now();
    const { origin } = room;
    const changed = [...room.changed].flatMap((key) => room.entries.get(key) ?? []);
    room.changed.clear();
    room.origin = undefined;
    const framesFor = createFrames(changed);
    if (changed.length > 0) {
      for (const reader of room.readers.keys()) {
        if (reader !== origin && !room.behind.has(reader) && !reader.offer(framesFor(reader))) room.behind.add(reader);
      }
    }
    if (room.behind.size === 0) return;
    prune(room, room.flushedAt);
    const everythingFor = createFrames([...room.entries.values()]);
    for (const reader of [...room.behind]) if (reader.offer(everythingFor(reader))) room.behind.delete(reader);
    if (room.behind.size > 0) schedule(room, retryMs);
  }

  function enter(id: string, address: PresenceAddress, reader: RoomReader, userId: string): Room {
    let room = rooms.get(id);
    if (room === undefined) {
      room = {
        address,
        readers: new Map(),
        entries: new Map(),
        changed: new Set(),
        origin: undefined,
        behind: new Set(),
        loaded: undefined,
        bytes: 0,
        flushedAt: Number.NEGATIVE_INFINITY,
        timer: undefined,
      };
      rooms.set(id, room);
    }
    room.readers.set(reader, userId);
    return room;
  }

  function leave(id: string, room: Room, reader: RoomReader): void {
    room.readers.delete(reader);
    room.behind.delete(reader);
    if (room.readers.size > 0) return;
    clearTimeout(room.timer);
    room.timer = undefined;
    if (rooms.get(id) !== room) return;
    rooms.delete(id);
    for (const entry of room.entries.values()) release(room, entry);
  }

  async function openRoom({ key, access, reader, identity }: Entry, kind: PresenceKind): Promise<Channel> {
    const id = roomId({ key, kind });
    const room = enter(id, { key, kind }, reader, identity.userId);
    try {
      // Everybody in the room waits for it, and has it in the backfill.
      room.loaded ??= exchange.load(room.address).then((entries) => void mergeStored(room, entries));
      await room.loaded;
    } catch (error) {
      room.loaded = undefined;
      leave(id, room, reader);
      throw error;
    }
    prune(room, performance.now());
    lastSource += 1;
    const source = lastSource;
    let handedOn = true;
    return {
      permission: settings.viewerPresence ? "write" : access,
      version,
      backfill: room.entries.size === 0 ? [] : [presenceUpdate([...room.entries.values()])],
      submit(updates) {
        const entries: PresenceEntry[] = [];
        for (const update of updates) {
          const bytes = Buffer.from(update.buffer, update.byteOffset, update.length);
          const some = presenceEntries(bytes, Date.now() + clockToleranceMs);
          if (some === undefined) return ackStatus.invalidUpdate;
          if (some.some((entry) => entry.key.length > maxKeyBytes)) return ackStatus.payloadTooLarge;
          entries.push(...some);
        }
        const first = handedOn;
        handedOn = false;
        return take(room, entries, reader, source, first);
      },
      // Presence is only ever offered, so nobody falls behind for good.
      mute: () => undefined,
      close: () => leave(id, room, reader),
    };
  }

  return {
    open: (kind) => (entry) => openRoom(entry, kind),
    get rooms() {
      return rooms.size;
    },
    arrived(address, entries) {
      const room = rooms.get(roomId(address));
      if (room !== undefined) takeNews(room, entries);
    },
    share() {
      const now = performance.now();
      for (const { address, entries } of rooms.values()) {
        if (address.kind === "persisted") continue;
        const own = [...entries.values()].filter(({ source, keptUntil }) => source !== elsewhere && keptUntil > now);
        if (own.length === 0) continue;
        const stored = own.map(({ key, bytes, setAt, userId, keptUntil }) => {
          return { key, bytes, setAt, userId, keepMs: Math.ceil(keptUntil - now), heldMs };
        });
        // As in `take`.
        exchange.store(address, stored).catch(() => undefined);
      }
    },
  };
}

function roomId({ key, kind }: PresenceAddress): string {
  return `${kind} ${documentId(key)}`;
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

function growth(room: Room, entries: Iterable<PresenceEntry>): { bytes: number; keys: number } {
  let bytes = 0;
  let keys = 0;
  for (const entry of entries) {
    const known = room.entries.get(entry.key);
    bytes += costOf(entry) - (known ? costOf(known) : 0);
    if (!known) keys++;
  }
  return { bytes, keys };
}

/** The frames that carry some entries, made once for all readers who know the room by the same id. */
function createFrames(entries: readonly PresenceEntry[]): (reader: RoomReader) => readonly Buffer[] {
  const update = presenceUpdate(entries);
  const made = new Map<string, readonly Buffer[]>();
  return (reader) => {
    let frames = made.get(reader.roomKey);
    if (frames === undefined) {
      frames = [...updateFrames(reader.head, [update])];
      made.set(reader.roomKey, frames);
    }
    return frames;
  };
}
