import { documentId } from "../documents/key.js";
import { type AckStatus, ackStatus } from "../protocol/protocol.js";
import { entriesIn, type PresenceEntry, presenceUpdate } from "./presence-entries.js";
import type { PresenceExchange } from "./presence-exchange.js";
import { createPresenceKeys, type Giver } from "./presence-keys.js";
import type { PresenceAddress, PresenceKind, StoredEntry } from "./presence-queries.js";
import { createRegistry, framesOf, type OpenRoom, type RoomReader } from "./room.js";
import type { RoomSettings } from "./settings.js";

export interface Presence {
  /** How rooms of a kind are opened. */
  open(kind: PresenceKind): OpenRoom;
  /** Rooms in memory, each with at least one reader. */
  readonly rooms: number;
  /** Takes what other nodes have put into a room. */
  arrived(room: PresenceAddress, entries: readonly StoredEntry[]): void;
  /** Stores what the rooms of this node hold, for nodes that came later. */
  share(): void;
}

/** The version of an empty document: presence has none of its own. */
const version = new Uint8Array(1);
const retryMs = 250;

/**
 * Presence rooms. The latest entry of each key is kept while the room has readers and the entry is fresh, for those who come
 * later; changes are passed on together, at most once an interval. Of an ephemeral room without readers nothing is left; the entries
 * of a persisted one are in the database for as long as they count, and acknowledged once they are.
 */
export function createPresence(settings: RoomSettings, exchange: PresenceExchange): Presence {
  const rooms = createRegistry<PresenceRoom>();
  let lastSource = 0;

  return {
    open: (kind) => async (entry) => {
      const { key, access, reader, identity } = entry;
      const address = { key, kind };
      const room = rooms.open(nameOf(address), (close) => createRoom(address, settings, exchange, close));
      await room.enter(reader, identity.userId);
      lastSource += 1;
      const giver = { reader, userId: identity.userId, source: lastSource };
      let handedOn = true;
      return {
        permission: settings.viewerPresence ? "write" : access,
        version,
        position: 0,
        backfill: room.backfill(),
        submit(updates) {
          const entries = entriesIn(updates, settings.maxPresenceKeys);
          if (typeof entries === "number") return entries;
          const first = handedOn;
          handedOn = false;
          return room.take(entries, { ...giver, handedOn: first });
        },
        close: () => room.leave(reader),
      };
    },
    get rooms() {
      return rooms.size;
    },
    arrived: (address, entries) => rooms.get(nameOf(address))?.arrived(entries),
    share() {
      for (const room of rooms.all()) room.share();
    },
  };
}

const nameOf = ({ key, kind }: PresenceAddress) => `${kind} ${documentId(key)}`;

type PresenceRoom = ReturnType<typeof createRoom>;

function createRoom(address: PresenceAddress, settings: RoomSettings, exchange: PresenceExchange, close: () => void) {
  /** And on whose behalf. */
  const readers = new Map<RoomReader, string>();
  const isHere = (userId: string) => [...readers.values()].includes(userId);
  const isPersisted = address.kind === "persisted";
  const keepMs = isPersisted ? settings.persistedPresenceMs : settings.presenceTimeoutMs;
  const keys = createPresenceKeys(settings, keepMs, isHere);
  /** Keys that changed since the last flush, and who changed them, when it was one reader only. */
  const changed = new Set<string>();
  let origin: RoomReader | "several" | undefined;
  /** Readers that missed a flush, and are given everything when they can take it. */
  const behind = new Set<RoomReader>();
  /** What other nodes and earlier readers have put is read, or being read. */
  let loaded: Promise<void> | undefined;
  let flushedAt = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;

  function schedule(delay: number): void {
    if (readers.size > 0) timer ??= setTimeout(flush, delay);
  }

  function change(news: readonly { readonly key: string }[], by: RoomReader | "several"): void {
    for (const { key } of news) changed.add(key);
    origin = origin === undefined || origin === by ? by : "several";
    schedule(Math.max(0, flushedAt + settings.presenceIntervalMs - performance.now()));
  }

  function flush(): void {
    timer = undefined;
    flushedAt = performance.now();
    const news = keys.entries(changed);
    const by = origin;
    changed.clear();
    origin = undefined;
    if (news.length > 0) {
      const framesFor = framesOf(() => [presenceUpdate(news)]);
      for (const reader of readers.keys()) {
        if (reader !== by && !behind.has(reader) && !reader.offer(framesFor(reader))) behind.add(reader);
      }
    }
    if (behind.size === 0) return;
    keys.prune();
    const everythingFor = framesOf(() => [presenceUpdate(keys.entries())]);
    for (const reader of [...behind]) if (reader.offer(everythingFor(reader))) behind.delete(reader);
    if (behind.size > 0) schedule(retryMs);
  }

  function leave(reader: RoomReader): void {
    readers.delete(reader);
    behind.delete(reader);
    if (readers.size > 0) return;
    clearTimeout(timer);
    timer = undefined;
    close();
    keys.clear();
  }

  return {
    /** Errors: what is stored cannot be read; then the reader is not there. */
    async enter(reader: RoomReader, userId: string): Promise<void> {
      readers.set(reader, userId);
      try {
        // Everybody in the room waits for it, and has it in the backfill.
        loaded ??= exchange.load(address).then((entries) => void keys.takeStored(entries));
        await loaded;
      } catch (error) {
        loaded = undefined;
        leave(reader);
        throw error;
      }
    },
    backfill(): Uint8Array[] {
      keys.prune();
      const entries = keys.entries();
      return entries.length === 0 ? [] : [presenceUpdate(entries)];
    },
    take(given: readonly PresenceEntry[], from: Giver): AckStatus | Promise<AckStatus> {
      const { status, changed: news } = keys.take(given, from);
      if (news.length === 0) return status;
      change(news, from.reader);
      if (!isPersisted) {
        // It is not promised to anybody, and the exchange reports what fails.
        if (exchange.hasOthers()) exchange.store(address, news).catch(() => undefined);
        return status;
      }
      return exchange.store(address, news).then<AckStatus, AckStatus>(
        () => status,
        () => ackStatus.unknown,
      );
    },
    leave,
    arrived(entries: readonly StoredEntry[]): void {
      const news = keys.takeStored(entries);
      if (news.length > 0) change(news, "several");
    },
    share(): void {
      const own = isPersisted ? [] : keys.own();
      // As in `take`.
      if (own.length > 0) exchange.store(address, own).catch(() => undefined);
    },
  };
}
