import type pg from "pg";
import pgListen from "pg-listen";
import { backOff } from "../lib/back-off.js";
import type { Hosts } from "./hosts.js";
import type { ListenHandlers, Listening } from "./types.js";

// A CommonJS module with a `default` of its own, seen from ESM.
const createSubscriber = pgListen.default;

/**
 * A half-open socket is noticed after at most these two together. A new connection that breaks before LISTEN is in force is noticed by
 * the next probe only, hence the short interval.
 */
const probeEveryMs = 2_000;
const probeTimeoutMs = 10_000;

/** Back-off between attempts to reconnect: 0.1 s, doubling to 2 s. */
const retryDelayMs = (attempt: number) => backOff(attempt, 100, 2_000);

export interface ListenPlace {
  readonly hosts: Hosts;
  /** All but where it leads. */
  readonly connection: pg.ClientConfig;
}

/**
 * Listens on a connection of its own, and listens again after every loss, without end; after the first attempt that fails on another host,
 * where there are several. A standby refuses LISTEN.
 * Throws when the first connection cannot be made, to none of them.
 */
export async function listenPostgres(
  { hosts, connection }: ListenPlace,
  channels: readonly string[],
  on: ListenHandlers,
  onError: (error: Error) => void,
): Promise<Listening> {
  let closed = false;
  /** Another connection is being made in place of the one there is, or was. */
  let replacing = false;
  let wake: () => void = () => undefined;

  /** Handlers are called from the socket's event: what they throw would end the process. */
  const guarded = (call: () => void) => {
    if (closed) return;
    try {
      call();
    } catch (error) {
      onError(error instanceof Error ? error : new Error(String(error)));
    }
  };

  /** A subscriber that listens; it reconnects by itself, until that fails in a way it cannot get out of. */
  async function subscribe(): Promise<Subscriber> {
    let listening = false;
    let over = false;
    const host = hosts.next();
    const subscriber = createSubscriber(
      { ...connection, connectionString: host.url, query_timeout: probeTimeoutMs },
      {
        // The default parser turns a payload that is not JSON into an error event.
        parse: (payload) => payload,
        paranoidChecking: probeEveryMs,
        retryTimeout: Number.POSITIVE_INFINITY,
        retryInterval: (attempt) => {
          // Throwing is the one way to end the subscriber's reconnect loop once nobody wants it any more.
          if (closed || over) throw new Error("the subscription is closed");
          if (hosts.attempts > 1) throw new Error(`${host.name} cannot be reached`);
          return retryDelayMs(attempt);
        },
      },
    );
    const end = () => subscriber.close().catch(onError);
    subscriber.events.on("notification", ({ channel, payload }) => {
      if (!over) guarded(() => on.notify(channel, payload ?? ""));
    });
    subscriber.events.on("connected", () => {
      // A reconnect that was under way while we closed has made a connection that nobody else will end.
      if (closed || over) void end();
      else if (listening) guarded(on.ready);
    });
    subscriber.events.on("reconnect", (attempt) => {
      if (attempt === 1 && !over) guarded(() => on.lost?.(new Error("the connection that listens was lost")));
    });
    // It is connected, and LISTEN failed, or had no answer in time. It would leave it at that, since its probes get answers: it would
    // never say again that it listens.
    subscriber.events.on("error", (error) => {
      if (closed || over) return;
      over = true;
      hosts.failed(host, error);
      guarded(() => on.lost?.(error));
      void end();
      if (listening) void replacingBy(tryAgain);
    });
    try {
      await subscriber.connect();
      // One after the other: a connection takes one query at a time.
      for (const channel of channels) await subscriber.listenTo(channel);
      if (over) throw new Error("the connection that listens was lost");
    } catch (error) {
      over = true;
      if (hosts.passesOn(error)) hosts.failed(host, error);
      void end();
      throw error;
    }
    listening = true;
    return {
      close: () => subscriber.close(),
      isOver: () => over,
      retire() {
        over = true;
        void end();
      },
    };
  }

  /** Tries each host once. */
  async function first(): Promise<Subscriber> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await subscribe();
      } catch (error) {
        if (!hosts.passesOn(error)) throw error;
        if (attempt >= hosts.attempts) throw hosts.error(error);
      }
    }
  }

  let current = await first();
  guarded(on.ready);

  async function take(made: Promise<Subscriber>): Promise<void> {
    const next = await made;
    if (closed) return next.retire();
    current = next;
    guarded(on.ready);
  }

  /** One at a time. What was lost meanwhile is made again afterwards. */
  async function replacingBy(make: () => Promise<void>): Promise<void> {
    if (closed || replacing) return;
    replacing = true;
    try {
      await make();
    } finally {
      replacing = false;
      if (current.isOver()) void replacingBy(tryAgain);
    }
  }

  async function tryAgain(): Promise<void> {
    for (let attempt = 0; !closed; attempt++) {
      await new Promise<void>((resolve) => {
        wake = resolve;
        setTimeout(resolve, retryDelayMs(attempt));
      });
      if (closed) return;
      try {
        return await take(subscribe());
      } catch (error) {
        guarded(() => on.lost?.(error instanceof Error ? error : new Error(String(error))));
      }
    }
  }

  return {
    anew: () =>
      replacingBy(async () => {
        const before = current;
        // It may lead elsewhere, should the server have been replaced meanwhile, so everybody is told.
        await take(subscribe());
        before.retire();
      }),
    async close() {
      if (closed) return;
      closed = true;
      wake();
      await current.close();
    },
  };
}

interface Subscriber {
  close(): Promise<void>;
  /** It was lost, and does not come back by itself. */
  isOver(): boolean;
  /** It is heard no more, and closes. */
  retire(): void;
}
