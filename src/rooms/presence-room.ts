import { documentId } from "../documents/key.js";
import { type AckStatus, ackStatus } from "../protocol/protocol.js";
import { createBroadcast, type Origin } from "./broadcast.js";
import { entriesIn, type PresenceEntry, presenceUpdate } from "./presence-entries.js";
import type { PresenceExchange } from "./presence-exchange.js";
import { createPresenceKeys, type Giver } from "./presence-keys.js";
import type { PresenceAddress, PresenceKind, StoredEntry } from "./presence-queries.js";
import { createRegistry, type OpenRoom, type RoomReader } from "./room.js";
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
  /** Has keys stay their users' on other nodes, too, while these are here. */
  renew(): void;
}

/** The version of an empty document: presence has none of its own. */
const version = new Uint8Array(1);

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
          const first = handedOn;
          const entries = entriesIn(updates, settings, first);
          if (typeof entries === "number") return entries;
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
    renew() {
      // Of each user so many at a time, over all rooms: it costs nobody anything to stay.
      const left = new Map<string, number>();
      for (const room of rooms.all()) room.renew(left);
    },
  };
}

const nameOf = ({ key, kind }: PresenceAddress) => `${kind} ${documentId(key)}`;

type PresenceRoom = ReturnType<typeof createRoom>;

function createRoom(address: PresenceAddress, settings: RoomSettings, exchange: PresenceExchange, close: () => void) {
  /** And on whose behalf. */
  const readers = new Map<RoomReader, string>();
  /** How many of them are each user's. */
  const here = new Map<string, number>();
  const isHere = (userId: string) => here.has(userId);
  const isPersisted = address.kind === "persisted";
  const keepMs = isPersisted ? settings.persistedPresenceMs : settings.presenceTimeoutMs;
  const keys = createPresenceKeys(settings, keepMs, isHere, isPersisted);
  const broadcast = createBroadcast(settings.presenceIntervalMs, readers, updatesOf);
  /** What other nodes and earlier readers have put is read, or being read. */
  let loaded: Promise<void> | undefined;

  /** Of these keys, or of all that is fresh. */
  function updatesOf(some?: ReadonlySet<string>): Uint8Array[] {
    const entries = keys.entries(some);
    return entries.length === 0 ? [] : [presenceUpdate(entries)];
  }

  const changed = (entries: readonly { readonly key: string }[], by: Origin) =>
    broadcast.changed(
      entries.map(({ key }) => key),
      by,
    );

  function forget(reader: RoomReader): void {
    const userId = readers.get(reader);
    if (userId === undefined) return;
    readers.delete(reader);
    const left = (here.get(userId) ?? 0) - 1;
    if (left > 0) here.set(userId, left);
    else here.delete(userId);
  }

  function leave(reader: RoomReader): void {
    forget(reader);
    broadcast.left(reader);
    if (readers.size > 0) return;
    broadcast.end();
    close();
    keys.clear();
  }

  return {
    /** Errors: what is stored cannot be read; then the reader is not there. */
    async enter(reader: RoomReader, userId: string): Promise<void> {
      forget(reader);
      readers.set(reader, userId);
      here.set(userId, (here.get(userId) ?? 0) + 1);
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
    backfill: () => updatesOf(),
    take(given: readonly PresenceEntry[], from: Giver): AckStatus | Promise<AckStatus> {
      const { status, changed: newer } = keys.take(given, from);
      if (newer.length === 0) return status;
      changed(newer, from.reader);
      if (!isPersisted) {
        // It is not promised to anybody, and the exchange reports what fails.
        if (exchange.hasOthers()) exchange.store(address, newer, from.reader).catch(() => undefined);
        return status;
      }
      return exchange.store(address, newer, from.reader).then<AckStatus, AckStatus>(
        () => status,
        () => ackStatus.unknown,
      );
    },
    leave,
    arrived(entries: readonly StoredEntry[]): void {
      const newer = keys.takeStored(entries);
      if (newer.length > 0) changed(newer, "several");
    },
    share(): void {
      const own = isPersisted ? [] : keys.own();
      // As in `take`.
      if (own.length > 0) exchange.store(address, own).catch(() => undefined);
    },
    /** In: how many more may be stored again of each user. */
    renew(left: Map<string, number>): void {
      const lapsing = isPersisted && exchange.hasOthers() ? keys.renew(left) : [];
      if (lapsing.length > 0) exchange.store(address, lapsing).catch(() => undefined);
    },
  };
}
