import { documentId } from "../documents/key.js";
import type { Channel, Entry, OpenChannel, Reader } from "./channel.js";
import { updateFrames } from "./encode.js";
import { type PresenceEntry, presenceEntries, presenceUpdate } from "./presence-entries.js";
import type { PresenceExchange } from "./presence-exchange.js";
import type { PresenceAddress, PresenceKind, StoredEntry } from "./presence-store.js";
import { type AckStatus, ackStatus } from "./protocol.js";
import type { GatewaySettings } from "./settings.js";

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

type PresenceSettings = Pick<
  GatewaySettings,
  "presenceIntervalMs" | "presenceTimeoutMs" | "persistedPresenceMs" | "maxPresenceBytes" | "viewerPresence"
>;

interface KeptEntry extends PresenceEntry {
  /** Which channel it came through; 0: another node, or an earlier reader. */
  readonly source: number;
  readonly keptUntil: number;
}

interface Room {
  readonly address: PresenceAddress;
  readonly readers: Set<Reader>;
  readonly entries: Map<string, KeptEntry>;
  /** Keys that changed since the last flush. */
  readonly changed: Set<string>;
  /** Who changed them, when it was one reader only. */
  origin: Reader | "several" | undefined;
  /** Readers that missed a flush, and are given everything when they can take it. */
  readonly behind: Set<Reader>;
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

/**
 * Presence rooms. The latest entry of each key is kept while the room has readers and the entry is fresh, for those who come
 * later; changes are passed on together, at most once an interval. Of an ephemeral room without readers nothing is left; the entries
 * of a persisted one are in the database for as long as they count, and acknowledged once they are.
 */
export function createPresence(settings: PresenceSettings, exchange: PresenceExchange): Presence {
  const rooms = new Map<string, Room>();
  let lastSource = elsewhere;

  const keepMs = (kind: PresenceKind) =>
    kind === "persisted" ? settings.persistedPresenceMs : settings.presenceTimeoutMs;

  function prune(room: Room, now: number): void {
    for (const [key, entry] of room.entries) {
      if (entry.keptUntil > now) continue;
      room.entries.delete(key);
      room.changed.delete(key);
      room.bytes -= entry.bytes.length;
    }
  }

  /** Out: the entries that are newer than what is known, which are kept from now on; undefined when the room has no room for them. */
  function merge<T extends PresenceEntry>(
    room: Room,
    entries: readonly T[],
    source: number,
    keptUntil: (entry: T) => number,
  ): T[] | undefined {
    const newer = new Map<string, T>();
    for (const entry of entries) {
      const known = newer.get(entry.key) ?? room.entries.get(entry.key);
      if (isNewer(entry, source, known)) newer.set(entry.key, entry);
    }
    const fits = () => room.bytes + growth(room, newer.values()) <= settings.maxPresenceBytes;
    if (!fits()) prune(room, performance.now());
    if (!fits()) return undefined;
    room.bytes += growth(room, newer.values());
    for (const entry of newer.values()) {
      const { key, bytes, setAt } = entry;
      room.entries.set(key, { key, bytes, setAt, source, keptUntil: keptUntil(entry) });
    }
    return [...newer.values()];
  }

  function take(room: Room, entries: readonly PresenceEntry[], from: Reader, source: number) {
    const now = performance.now();
    const keep = keepMs(room.address.kind);
    const newer = merge(room, entries, source, () => now + keep);
    if (newer === undefined) return ackStatus.payloadTooLarge;
    if (newer.length === 0) return ackStatus.ok;
    for (const { key } of newer) room.changed.add(key);
    room.origin = room.origin === undefined || room.origin === from ? from : "several";
    schedule(room, Math.max(0, room.flushedAt + settings.presenceIntervalMs - now));
    const stored = () =>
      exchange.store(
        room.address,
        newer.map((entry) => ({ ...entry, keepMs: keep })),
      );
    if (room.address.kind === "persisted") {
      return stored().then<AckStatus, AckStatus>(
        () => ackStatus.ok,
        () => ackStatus.unknown,
      );
    }
    // It is not promised to anybody, and the exchange reports what fails.
    if (exchange.hasOthers()) stored().catch(() => undefined);
    return ackStatus.ok;
  }

  function mergeStored(room: Room, entries: readonly StoredEntry[]): StoredEntry[] {
    const now = performance.now();
    return merge(room, entries, elsewhere, (entry) => now + entry.keepMs) ?? [];
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
      for (const reader of room.readers) {
        if (reader !== origin && !room.behind.has(reader) && !reader.offer(framesFor(reader))) room.behind.add(reader);
      }
    }
    if (room.behind.size === 0) return;
    prune(room, room.flushedAt);
    const everythingFor = createFrames([...room.entries.values()]);
    for (const reader of [...room.behind]) if (reader.offer(everythingFor(reader))) room.behind.delete(reader);
    if (room.behind.size > 0) schedule(room, retryMs);
  }

  function enter(id: string, address: PresenceAddress, reader: Reader): Room {
    let room = rooms.get(id);
    if (room === undefined) {
      room = {
        address,
        readers: new Set(),
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
    room.readers.add(reader);
    return room;
  }

  function leave(id: string, room: Room, reader: Reader): void {
    room.readers.delete(reader);
    room.behind.delete(reader);
    if (room.readers.size > 0) return;
    clearTimeout(room.timer);
    room.timer = undefined;
    if (rooms.get(id) === room) rooms.delete(id);
  }

  async function openRoom({ key, access, reader }: Entry, kind: PresenceKind): Promise<Channel> {
    const id = roomId({ key, kind });
    const room = enter(id, { key, kind }, reader);
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
    return {
      permission: settings.viewerPresence ? "write" : access,
      version,
      backfill: room.entries.size === 0 ? [] : [presenceUpdate([...room.entries.values()])],
      submit(updates) {
        const entries: PresenceEntry[] = [];
        for (const update of updates) {
          const some = presenceEntries(Buffer.from(update.buffer, update.byteOffset, update.length));
          if (some === undefined) return ackStatus.invalidUpdate;
          if (some.some((entry) => entry.key.length > maxKeyBytes)) return ackStatus.payloadTooLarge;
          entries.push(...some);
        }
        return take(room, entries, reader, source);
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
        const stored = own.map((entry) => ({ ...entry, keepMs: Math.ceil(entry.keptUntil - now) }));
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
  known: (PresenceEntry & { source?: number }) | undefined,
): boolean {
  if (known === undefined || entry.setAt > known.setAt) return true;
  const same = entry.setAt === known.setAt && (known.source ?? source) === source;
  return same && !Buffer.from(entry.bytes).equals(known.bytes);
}

function growth(room: Room, entries: Iterable<PresenceEntry>): number {
  let bytes = 0;
  for (const entry of entries) bytes += entry.bytes.length - (room.entries.get(entry.key)?.bytes.length ?? 0);
  return bytes;
}

/** The frames that carry some entries, made once for all readers who know the room by the same id. */
function createFrames(entries: readonly PresenceEntry[]): (reader: Reader) => readonly Buffer[] {
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
