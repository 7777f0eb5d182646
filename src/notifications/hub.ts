import type { Database, Subscription } from "../database/types.js";
import { channels, type Notification, parseNotification } from "./parse.js";

/** Somebody who waits for notifications. Whatever it throws is logged, and keeps them from nobody else. */
export interface Listener {
  notified?(notification: Notification): void;
  /** The connection was made anew, and may lead to a database that went back: nobody is told `ready` before this has ended. */
  reconnected?(): Promise<void>;
  /** LISTEN is in force, at first and after every reconnect. What was sent before may be lost: read your tables now. */
  ready?(): void;
}

/** The one connection of a process that listens, and whoever waits for what it hears. */
export interface NotificationHub {
  /** Out: takes the listener away. */
  add(listener: Listener): () => void;
  /** Resolves when LISTEN is in force, after the first `ready`. Throws when the first connection cannot be made. */
  start(): Promise<void>;
  /** Listens from now on, also when the database is away at first. */
  keepStarting(): void;
  /** Whether LISTEN is in force. */
  listening(): boolean;
  close(): Promise<void>;
}

interface HubLog {
  warn(details: object, message: string): void;
}

const retryMs = 1_000;

/** In: where to listen, and who is told of faults. Out: a hub that does not listen yet. */
export function createNotificationHub(db: Pick<Database, "listen">, log?: HubLog): NotificationHub {
  const listeners = new Set<Listener>();
  let subscription: Promise<Subscription> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let connections = 0;
  let listening = false;
  let closed = false;

  function tell(call: (listener: Listener) => void): void {
    for (const listener of listeners) {
      try {
        call(listener);
      } catch (error) {
        log?.warn(
          { err: error },
          "a part of perch failed over a notification, and finds by its poll what it missed; this is a fault of perch to report",
        );
      }
    }
  }

  async function ready(): Promise<void> {
    listening = true;
    connections += 1;
    if (connections > 1) await Promise.allSettled([...listeners].map((listener) => listener.reconnected?.()));
    tell((listener) => listener.ready?.());
  }

  function start(): Promise<void> {
    subscription ??= db
      .listen(channels, {
        ready: () => void ready(),
        notify(channel, payload) {
          const notification = parseNotification(channel, payload);
          if (notification !== undefined) tell((listener) => listener.notified?.(notification));
        },
        lost(error) {
          listening = false;
          log?.warn(
            { err: error },
            "the connection that listens was lost, and is being made again; until then what other processes write shows after a second or two",
          );
        },
      })
      .catch((error: unknown) => {
        subscription = undefined;
        throw error;
      });
    return subscription.then(() => undefined);
  }

  function keepStarting(): void {
    start().catch((error: unknown) => {
      if (closed) return;
      log?.warn({ err: error }, "listening for notifications failed; it is tried again");
      timer = setTimeout(keepStarting, retryMs);
    });
  }

  return {
    add(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    start,
    keepStarting,
    listening: () => listening,
    async close() {
      closed = true;
      listening = false;
      clearTimeout(timer);
      listeners.clear();
      await (await subscription?.catch(() => undefined))?.close();
    },
  };
}

const shared = new WeakMap<object, { readonly hub: NotificationHub; users: number }>();

/**
 * The hub of a database for those who come and go in a program of somebody else's: they share one connection, which is closed when
 * the last of them has gone. Out: the hub, and what gives it back.
 */
export function shareHub(db: Pick<Database, "listen">): { hub: NotificationHub; release(): Promise<void> } {
  const entry = shared.get(db) ?? { hub: createNotificationHub(db), users: 0 };
  entry.users += 1;
  shared.set(db, entry);
  return {
    hub: entry.hub,
    async release() {
      entry.users -= 1;
      if (entry.users > 0) return;
      shared.delete(db);
      await entry.hub.close();
    },
  };
}
