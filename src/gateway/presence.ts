import { documentId } from "../documents/key.js";
import type { Channel, Entry, OpenChannel, Reader } from "./channel.js";
import { updateFrames } from "./encode.js";
import { type PresenceEntry, presenceEntries, presenceUpdate } from "./presence-entries.js";
import { type AckStatus, ackStatus } from "./protocol.js";
import type { GatewaySettings } from "./settings.js";

export interface Presence {
  readonly open: OpenChannel;
  /** Rooms in memory, each with at least one reader. */
  readonly rooms: number;
}

type PresenceSettings = Pick<
  GatewaySettings,
  "presenceIntervalMs" | "presenceTimeoutMs" | "maxPresenceBytes" | "viewerPresence"
>;

interface KeptEntry extends PresenceEntry {
  readonly from: Reader;
  readonly keptUntil: number;
}

interface Room {
  readonly readers: Set<Reader>;
  readonly entries: Map<string, KeptEntry>;
  /** Keys that changed since the last flush. */
  readonly changed: Set<string>;
  /** Who changed them, when it was one reader only. */
  origin: Reader | "several" | undefined;
  /** Readers that missed a flush, and are given everything when they can take it. */
  readonly behind: Set<Reader>;
  bytes: number;
  flushedAt: number;
  timer: NodeJS.Timeout | undefined;
}

/** The version of an empty document: presence has none of its own. */
const version = new Uint8Array(1);
const retryMs = 250;

/**
 * Presence rooms. The latest entry of each key is kept while the room has readers and the entry is fresh, for those who come
 * later; changes are passed on together, at most once an interval. Nothing is left of a room without readers.
 */
export function createPresence(settings: PresenceSettings): Presence {
  const rooms = new Map<string, Room>();

  function prune(room: Room, now: number): void {
    for (const [key, entry] of room.entries) {
      if (entry.keptUntil > now) continue;
      room.entries.delete(key);
      room.changed.delete(key);
      room.bytes -= entry.bytes.length;
    }
  }

  function take(room: Room, entries: readonly PresenceEntry[], from: Reader): AckStatus {
    const now = performance.now();
    const newer = entries.filter((entry) => isNewer(entry, from, room.entries.get(entry.key)));
    if (room.bytes + growth(room, newer) > settings.maxPresenceBytes) prune(room, now);
    if (room.bytes + growth(room, newer) > settings.maxPresenceBytes) return ackStatus.payloadTooLarge;
    for (const entry of newer) {
      room.bytes += growth(room, [entry]);
      room.entries.set(entry.key, { ...entry, from, keptUntil: now + settings.presenceTimeoutMs });
      room.changed.add(entry.key);
      room.origin = room.origin === undefined || room.origin === from ? from : "several";
    }
    if (newer.length > 0) schedule(room, Math.max(0, room.flushedAt + settings.presenceIntervalMs - now));
    return ackStatus.ok;
  }

  function schedule(room: Room, delay: number): void {
    room.timer ??= setTimeout(() => flush(room), delay);
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

  function enter(key: string, reader: Reader): Room {
    let room = rooms.get(key);
    if (room === undefined) {
      room = {
        readers: new Set(),
        entries: new Map(),
        changed: new Set(),
        origin: undefined,
        behind: new Set(),
        bytes: 0,
        flushedAt: Number.NEGATIVE_INFINITY,
        timer: undefined,
      };
      rooms.set(key, room);
    }
    room.readers.add(reader);
    return room;
  }

  function leave(key: string, room: Room, reader: Reader): void {
    room.readers.delete(reader);
    room.behind.delete(reader);
    if (room.readers.size > 0) return;
    clearTimeout(room.timer);
    if (rooms.get(key) === room) rooms.delete(key);
  }

  return {
    open: async ({ key, access, reader }: Entry): Promise<Channel> => {
      const id = documentId(key);
      const room = enter(id, reader);
      prune(room, performance.now());
      return {
        permission: settings.viewerPresence ? "write" : access,
        version,
        backfill: room.entries.size === 0 ? [] : [presenceUpdate([...room.entries.values()])],
        submit(updates) {
          const entries: PresenceEntry[] = [];
          for (const update of updates) {
            const some = presenceEntries(Buffer.from(update.buffer, update.byteOffset, update.length));
            if (some === undefined) return ackStatus.invalidUpdate;
            entries.push(...some);
          }
          return take(room, entries, reader);
        },
        // Presence is only ever offered, so nobody falls behind for good.
        mute: () => undefined,
        close: () => leave(id, room, reader),
      };
    },
    get rooms() {
      return rooms.size;
    },
  };
}

/**
 * The newer entry of a key wins, by its sender's clock. What one sender sets twice within a millisecond comes in its order, and the
 * last counts; stores would keep the first, so it matters that nobody has been given that yet.
 */
function isNewer(entry: PresenceEntry, from: Reader, known: KeptEntry | undefined): boolean {
  if (known === undefined || entry.setAt > known.setAt) return true;
  return entry.setAt === known.setAt && from === known.from && !Buffer.from(entry.bytes).equals(known.bytes);
}

function growth(room: Room, entries: readonly PresenceEntry[]): number {
  return entries.reduce((sum, { key, bytes }) => sum + bytes.length - (room.entries.get(key)?.bytes.length ?? 0), 0);
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
