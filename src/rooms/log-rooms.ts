import type { Logger } from "pino";
import { documentId } from "../documents/key.js";
import type { NotificationHub } from "../notifications/hub.js";
import { joinErrorCode } from "../protocol/protocol.js";
import type { LogKind } from "./log-kind.js";
import { createLogRoom, type LogRoom, type LogRoomEvents } from "./log-room.js";
import { createRegistry, JoinRefused, type OpenRoom } from "./room.js";

export interface LogRoomServices extends LogRoomEvents {
  readonly notifications: Pick<NotificationHub, "add">;
  readonly log: Pick<Logger, "warn">;
}

export interface LogRooms {
  readonly open: OpenRoom;
  close(): Promise<void>;
}

/** How long a lost notification delays what it was about. */
const pollMs = 5_000;

/** The rooms of a kind whose content is a log. A fourth kind is what LogKind asks of it; see test/rooms/log-room.test.ts. */
export function createLogRooms<Entry, Version>(kind: LogKind<Entry, Version>, services: LogRoomServices): LogRooms {
  const rooms = createRegistry<LogRoom<Entry, Version>>();
  let timer: NodeJS.Timeout | undefined;
  let polling: Promise<void> | undefined;

  async function pollAll(): Promise<void> {
    const open = rooms.all();
    const positions = await kind.positions(open.map(({ key }) => key));
    for (const [n, room] of open.entries()) {
      const position = positions[n];
      if (position) room.polled(position);
    }
  }

  function poll(): void {
    if (rooms.size === 0) return;
    polling ??= pollAll()
      .catch((error: unknown) =>
        services.log.warn({ err: error }, "whether rooms have news could not be looked at; the next look tries again"),
      )
      .finally(() => {
        polling = undefined;
      });
  }

  const stopListening = services.notifications.add({
    notified(notification) {
      const heard = kind.heard?.(notification);
      if (heard) rooms.get(documentId(heard.key))?.heard(heard.seq);
    },
    ready: poll,
  });

  return {
    async open({ key, identity, access, version, reader }) {
      const theirs = kind.versions.decode(version);
      if (theirs === undefined) {
        const ours = await kind.read(key, kind.versions.none);
        throw new JoinRefused(joinErrorCode.versionUnknown, "the version does not decode", {
          receiverVersion: kind.versions.encode(ours.version),
        });
      }
      const room = rooms.open(documentId(key), (over) => createLogRoom(kind, key, { ...services, over }));
      const state = await room.join(reader, theirs);
      timer ??= setInterval(poll, pollMs).unref();
      return {
        permission: access,
        version: kind.versions.encode(state.version),
        backfill: kind.updatesOf(state.payloads),
        position: state.position.seq,
        submit(updates) {
          const entries = kind.entriesOf(updates);
          return typeof entries === "number" ? entries : room.submit(entries, identity, reader);
        },
        close: () => room.leave(reader),
      };
    },
    async close() {
      stopListening();
      clearInterval(timer);
      await polling;
    },
  };
}
