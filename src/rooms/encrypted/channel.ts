import type { Logger } from "pino";
import type { Database } from "../../database/types.js";
import { documentId } from "../../documents/key.js";
import type { NotificationHub } from "../../notifications/hub.js";
import { ackStatus, joinErrorCode } from "../../protocol/protocol.js";
import { type Channel, type Entry, JoinRefused, type OpenChannel } from "../channel.js";
import { encryptedPositions, readEncrypted } from "./queries.js";
import { containersOf, decodeVersion, type EncryptedRecord, encodeVersion, encryptedRecords } from "./records.js";
import { createEncryptedRoom, type EncryptedRoom } from "./room.js";

export interface EncryptedDocuments {
  readonly open: OpenChannel;
  close(): Promise<void>;
}

export interface EncryptedServices {
  readonly db: Database;
  readonly notifications: Pick<NotificationHub, "add">;
  readonly log: Logger;
  /** An append or a reading failed for a reason that is not the client's. */
  onFault(error: unknown): void;
  /** So many records were committed, so long after they were handed over. */
  onCommitted(records: number, ms: number): void;
  /** An append was refused although the room was joined for writing: access has changed. */
  onForbidden(): void;
}

/** How long a lost notification delays what it was about. */
const pollMs = 5_000;
/** Of one batch; official clients send one for each peer. */
const maxRecords = 4_096;

/** Rooms of documents that are encrypted end to end: records are stored and passed on as they are. */
export function createEncryptedDocuments(services: EncryptedServices): EncryptedDocuments {
  const { db, log } = services;
  const rooms = new Map<string, EncryptedRoom>();
  let poll: NodeJS.Timeout | undefined;
  let polling: Promise<void> | undefined;
  let closed = false;

  async function lookAtAll(): Promise<void> {
    const open = [...rooms.values()];
    const positions = await encryptedPositions(
      db,
      open.map(({ key }) => key),
    );
    for (const [n, room] of open.entries()) {
      const now = positions[n];
      if (now !== undefined) room.seen(now);
    }
  }

  function look(): void {
    if (closed || rooms.size === 0) return;
    polling ??= lookAtAll()
      .catch((error: unknown) => log.warn({ err: error }, "encrypted documents could not be looked at"))
      .finally(() => {
        polling = undefined;
      });
  }

  const stopListening = services.notifications.add({
    notified(one) {
      if (one.channel === "perch_documents") rooms.get(documentId(one.key))?.notified(one.seq);
    },
    ready: look,
  });

  function roomOf(key: Entry["key"]): EncryptedRoom {
    const id = documentId(key);
    let room = rooms.get(id);
    if (room === undefined) {
      const made = createEncryptedRoom(db, key, {
        fault: services.onFault,
        forbidden: services.onForbidden,
        committed: services.onCommitted,
        over: () => {
          if (rooms.get(id) === made) rooms.delete(id);
        },
      });
      room = made;
      rooms.set(id, room);
    }
    return room;
  }

  return {
    async open({ key, identity, access, version, reader }: Entry): Promise<Channel> {
      const theirs = decodeVersion(version);
      if (theirs === undefined) {
        const { version: ours } = await readEncrypted(db, key, new Map());
        throw new JoinRefused(joinErrorCode.versionUnknown, "the version does not decode", {
          receiverVersion: encodeVersion(ours),
        });
      }
      const joined = await roomOf(key).join(reader, theirs);
      poll ??= setInterval(look, pollMs).unref();
      let open = true;
      return {
        permission: access,
        version: encodeVersion(joined.state.version),
        backfill: containersOf(joined.state.records),
        submit(updates) {
          if (!open) return ackStatus.permissionDenied;
          const records: EncryptedRecord[] = [];
          for (const update of updates) {
            const some = encryptedRecords(Buffer.from(update.buffer, update.byteOffset, update.length));
            if (some === undefined) return ackStatus.invalidUpdate;
            records.push(...some);
          }
          if (records.length > maxRecords) return ackStatus.payloadTooLarge;
          return joined.submit(records, identity);
        },
        mute: joined.mute,
        close() {
          if (!open) return;
          open = false;
          joined.leave();
        },
      };
    },
    async close() {
      closed = true;
      clearInterval(poll);
      stopListening();
      await polling;
    },
  };
}
