import type pg from "pg";
import pgListen from "pg-listen";
import type { ListenHandlers, Subscription } from "./types.js";

// A CommonJS module with a `default` of its own, seen from ESM.
const createSubscriber = pgListen.default;

/**
 * A half-open socket is noticed after at most these two together. A new connection that breaks before LISTEN is in force is noticed by
 * the next probe only, hence the short interval.
 */
const probeEveryMs = 2_000;
const probeTimeoutMs = 10_000;

/** Back-off between attempts to reconnect: 0.1 s, doubling to 2 s. */
const retryDelayMs = (attempt: number) => Math.min(100 * 2 ** attempt, 2_000);

/**
 * Listens on a connection of its own, and listens again after every loss, without end.
 * Throws when the first connection cannot be made.
 */
export async function listenPostgres(
  connection: pg.ClientConfig,
  channels: readonly string[],
  on: ListenHandlers,
  onError: (error: Error) => void,
): Promise<Subscription> {
  let listening = false;
  let closed = false;

  const subscriber = createSubscriber(
    { ...connection, query_timeout: probeTimeoutMs },
    {
      // The default parser turns a payload that is not JSON into an error event.
      parse: (payload) => payload,
      paranoidChecking: probeEveryMs,
      retryTimeout: Number.POSITIVE_INFINITY,
      retryInterval: (attempt) => {
        // Throwing is the one way to end the subscriber's reconnect loop once nobody wants it any more.
        if (closed) throw new Error("the subscription is closed");
        return retryDelayMs(attempt);
      },
    },
  );

  /** Handlers are called from the socket's event: what they throw would end the process. */
  const guarded = (call: () => void) => {
    if (closed) return;
    try {
      call();
    } catch (error) {
      onError(error instanceof Error ? error : new Error(String(error)));
    }
  };

  subscriber.events.on("notification", ({ channel, payload }) => guarded(() => on.notify(channel, payload ?? "")));
  subscriber.events.on("connected", () => {
    // A reconnect that was under way while we closed has made a connection that nobody else will end.
    if (closed) subscriber.close().catch(onError);
    else if (listening) guarded(on.ready);
  });
  subscriber.events.on("reconnect", (attempt) => {
    if (attempt === 1) guarded(() => on.lost?.(new Error("the connection that listens was lost")));
  });
  // The subscriber goes on by itself: its next probe fails and reconnects.
  subscriber.events.on("error", (error) => guarded(() => on.lost?.(error)));

  try {
    await subscriber.connect();
    await Promise.all(channels.map((channel) => subscriber.listenTo(channel)));
  } catch (error) {
    closed = true;
    await subscriber.close().catch(onError);
    throw error;
  }
  listening = true;
  guarded(on.ready);

  return {
    async close() {
      if (closed) return;
      closed = true;
      await subscriber.close();
    },
  };
}
