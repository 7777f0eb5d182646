import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { Logger } from "pino";
import type { Shares } from "../../database/shares.js";
import type { Standbys } from "../../database/standbys.js";
import type { Database } from "../../database/types.js";
import type { TokenIdentity } from "../../identity/tokens.js";
import type { Counts } from "../../lib/counts.js";
import { createLanes } from "../../lib/lanes.js";
import type { Account } from "../../lib/ledger.js";
import type { NotificationHub } from "../../notifications/hub.js";
import { hasGone, whenGone } from "../gone.js";
import type { HttpSettings } from "../settings.js";
import type { Withheld } from "../withheld.js";
import { createFeed } from "./feed.js";
import { readPage, type Selection } from "./page.js";
import { openStream, type Stream, type StreamEnd } from "./stream.js";

export interface StreamsOptions {
  readonly shares: Shares;
  readonly standbys?: Standbys | undefined;
  readonly settings: HttpSettings;
  readonly log: Logger;
  readonly notifications: Pick<NotificationHub, "add">;
  /** Connections of each address and each user, those of sockets included. */
  readonly addresses: Counts;
  readonly users: Counts;
  readonly withheld: Withheld;
  onEnded(reason: StreamEnd): void;
}

export interface NewStream {
  readonly response: ServerResponse;
  readonly identity: TokenIdentity;
  readonly address: string;
  readonly selection: Selection;
  readonly cursor: string;
  readonly requestId: string;
  readonly account: Account;
  /** What its answer says besides. */
  readonly headers: OutgoingHttpHeaders;
}

export interface Streams {
  readonly size: number;
  /**
   * Serves one. Out: resolves when it has begun, or "full" when the node, the user or the address has as many as it may. Errors: see
   * `openStream`.
   */
  open(stream: NewStream): Promise<"open" | "full">;
  /** Ends all, and has their clients come back. */
  close(): void;
}

export function createStreams(options: StreamsOptions): Streams {
  const { shares, standbys, settings, log, addresses, users } = options;
  const feed = createFeed({
    db: shares.worker,
    notifications: options.notifications,
    log,
    pollMs: settings.recheckMs,
  });
  const { reads } = createLanes(settings.streamReads, { reads: { perOwner: Math.ceil(settings.streamReads / 2) } });
  const streams = new Set<Stream>();
  let opening = 0;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  function tick(): void {
    const now = Date.now();
    feed.tick(now);
    for (const stream of streams) stream.tick(now);
  }

  async function serve({
    response,
    identity,
    selection,
    cursor,
    requestId,
    account,
    headers,
  }: NewStream): Promise<void> {
    const started = performance.now();
    const stream = await openStream(response, identity, cursor, {
      feed,
      intervalMs: settings.streamIntervalMs,
      heartbeatMs: settings.streamHeartbeatMs,
      slowReaderMs: settings.slowReaderMs,
      account,
      headers,
      read: (from) =>
        reads.run(identity.userId, async () => {
          const pageOf = (db: Database) => readPage(db, identity, selection, from, settings.maxStreamPageBytes);
          const page = await (standbys === undefined ? pageOf(shares.reads) : standbys.read(shares.reads, pageOf));
          options.withheld.answered(page.body ?? "", selection.appId);
          return page;
        }),
      onFault: (error) => log.debug({ err: error, requestId }, "a stream could not read; it goes on"),
      onFailure: (error) => log.error({ err: error, requestId }, "a stream failed"),
    });
    streams.add(stream);
    timer ??= setInterval(tick, Math.max(20, Math.min(250, settings.recheckMs / 4)));
    void stream.ended.then((reason) => {
      streams.delete(stream);
      if (streams.size === 0) {
        clearInterval(timer);
        timer = undefined;
      }
      options.onEnded(reason);
      log.debug({ requestId, reason, ms: Math.round(performance.now() - started) }, "stream ended");
    });
    // It was opened while everything was being closed.
    if (closed) stream.drain();
  }

  return {
    get size() {
      return streams.size;
    },
    async open(stream) {
      const { address, identity, response } = stream;
      // Whoever has gone would never give back what is taken now.
      if (hasGone(response)) return "open";
      if (streams.size + opening >= settings.maxStreams || !addresses.take(address)) return "full";
      if (!users.take(identity.userId)) {
        addresses.give(address);
        return "full";
      }
      whenGone(response, () => {
        addresses.give(address);
        users.give(identity.userId);
      });
      opening += 1;
      try {
        await serve(stream);
      } finally {
        opening -= 1;
      }
      return "open";
    },
    close() {
      closed = true;
      for (const stream of streams) stream.drain();
      clearInterval(timer);
      feed.close();
    },
  };
}
