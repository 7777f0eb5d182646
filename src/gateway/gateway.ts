import { createServer, type IncomingMessage, type Server, STATUS_CODES } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import type { Logger } from "pino";
import { WebSocketServer } from "ws";
import { loggedError } from "../database/logged-error.js";
import { type Shares, shareConnections } from "../database/shares.js";
import type { Standbys } from "../database/standbys.js";
import type { Database } from "../database/types.js";
import { type DocumentKey, documentId } from "../documents/key.js";
import type { LiveDocuments } from "../documents/live.js";
import { createReadiness } from "../http/readiness.js";
import { addressOfClient, admit, networkOf, tokenOf } from "../http/requests.js";
import { createHttpHandler } from "../http/router.js";
import { maxIdLength } from "../http/streams/event-id.js";
import { createTelemetry } from "../http/telemetry.js";
import { createTokenVerifier, maxTokenLength } from "../identity/tokens.js";
import { createCounts } from "../lib/counts.js";
import { createLanes } from "../lib/lanes.js";
import { createLedger } from "../lib/ledger.js";
import { sparing } from "../lib/log.js";
import type { Metrics } from "../lib/metrics.js";
import { createNotificationHub, type NotificationHub } from "../notifications/hub.js";
import { closeCode, maxFrameBytes, roomType } from "../protocol/protocol.js";
import { accessToDocument, recheckAccess } from "../rooms/access.js";
import { documentRooms } from "../rooms/document-room.js";
import { encryptedDocuments } from "../rooms/encrypted-room.js";
import { createLogRooms } from "../rooms/log-rooms.js";
import { createPresenceExchange } from "../rooms/presence-exchange.js";
import { createPresence, type Presence } from "../rooms/presence-room.js";
import type { OpenRoom } from "../rooms/room.js";
import { loadParser } from "../shapes/filter.js";
import { createConnection, type OpenConnection } from "../websocket/connection.js";
import type { ConnectionServices } from "../websocket/services.js";
import { addDocumentFigures, addHeldFigures, addPoolFigures } from "./process-figures.js";
import { type GatewaySettings, requireAuthentication } from "./settings.js";

export interface GatewayOptions {
  readonly db: Database;
  /** How the connections are shared, where other parts of the process use them too. */
  readonly shares?: Shares;
  /** Who answers what only reads, where there is somebody besides `db`. */
  readonly standbys?: Standbys | undefined;
  readonly live: LiveDocuments;
  readonly settings: GatewaySettings;
  readonly log: Logger;
  /** Why the rest of perch cannot serve now, for /readyz; undefined when it can. */
  readonly notReady?: () => string | undefined;
  /** What the process hears of the database, where others use it too; not given: the gateway listens itself. */
  readonly notifications?: NotificationHub;
  /** What perch doctor says, for the console. */
  readonly doctor?: () => Promise<readonly object[]>;
}

export interface Gateway {
  /** Where it listens: `http://host:port`. */
  readonly url: string;
  readonly port: number;
  /** What /metrics shows; others may add to it. */
  readonly metrics: Metrics;
  /** Accepts nothing more, answers what was accepted, for so long at most, tells clients to come back, and resolves when all is closed. */
  close(withinMs?: number): Promise<void>;
}

/** Connections besides sockets and streams, which have limits of their own. */
const plainConnections = 10_000;

/** Connections of one address, for each socket or stream that it may have. */
const connectionsPerSocket = 2;

/** A look at all connections that comes so late says nothing of them; the next ones may, even where all are late. */
const standstillMs = 500;
const standstills = 3;

/** Joins that may be under way at once, and how many of them of one user. */
const joinsAtOnce = 8;
const joinsPerUser = 4;
/** Of those who join all the time, or whose joins take long, while others join as well. */
const heavyJoins = 1;

/**
 * Serves HTTP and WebSocket. Does not own `db` and `live`: close them after it.
 * Throws when the address is taken, or when development mode would be open to the network.
 */
export async function startGateway({
  db,
  live,
  settings,
  notReady,
  shares = shareConnections(db, {
    perUser: settings.connectionsPerUser,
    heavy: settings.heavyConnections,
    waiters: settings.waitingConnections,
  }),
  ...options
}: GatewayOptions): Promise<Gateway> {
  const log = options.log.child({}, { serializers: { err: loggedError } });
  const warn = sparing(log);
  requireAuthentication(settings);
  if (settings.development)
    log.warn(
      "development mode: a token is a plain user id, so only this machine may connect; PERCH_JWT_SECRET or PERCH_JWKS_URL ends it",
    );
  const verifyToken = createTokenVerifier(settings);
  const readiness = createReadiness(db, log);
  const connections = new Set<OpenConnection>();
  const addresses = createCounts(settings.maxSocketsPerAddress);
  const users = createCounts(settings.maxSocketsPerUser);
  const ledger = createLedger(settings.maxHeldBytesPerUser);
  /** Sockets that have shown no valid token. */
  let strangers = 0;
  let lastSocket = 0;
  let draining = false;
  let recheckAt = Date.now() + settings.recheckMs;

  const notifications = options.notifications ?? createNotificationHub(db, log);
  const exchange = createPresenceExchange({
    db: shares.worker,
    notifications,
    log,
    intervalMs: settings.presenceExchangeMs,
    maxUserBytes: settings.maxPersistedPresenceBytes,
    on: {
      arrived: (room, entries) => presence.arrived(room, entries),
      othersCame: () => presence.share(),
      beat: () => presence.renew(),
    },
  });
  const presence: Presence = createPresence(settings, exchange);
  const onAppends = {
    onFault: (error: unknown) => {
      readiness.writeFailed(error);
      warn(error, "an append failed");
    },
    onForbidden: () => {
      recheckAt = 0;
    },
    onCommitted: (updates: number, ms: number) => {
      readiness.wrote();
      telemetry.committed(updates, ms / 1000);
    },
  };
  const encrypted = createLogRooms(encryptedDocuments(shares), { notifications, log, ...onAppends });
  const channels: Record<string, OpenRoom> = {
    [roomType.encrypted]: encrypted.open,
    [roomType.document]: documentRooms({
      live,
      notifications,
      ...onAppends,
      onDelivered: (ms) => telemetry.delivered(ms / 1000),
    }),
    [roomType.presence]: presence.open("ephemeral"),
    [roomType.persistedPresence]: presence.open("persisted"),
  };

  const telemetry = createTelemetry(connections, presence);
  addDocumentFigures(telemetry.metrics, live);
  addPoolFigures(telemetry.metrics, db, shares);
  const { joins } = createLanes(joinsAtOnce, { joins: { perOwner: joinsPerUser, heavy: heavyJoins } });
  addHeldFigures(telemetry.metrics, ledger);
  const { standbys } = options;
  const look = <T>(read: (on: Database) => Promise<T>) =>
    standbys === undefined ? read(shares.reads) : standbys.read(shares.reads, read);
  const services: ConnectionServices = {
    settings,
    log,
    warn,
    verifyToken,
    ledger,
    accessTo: (identity, key) => look((on) => accessToDocument(on, identity, key)),
    inTurn: joins.run,
    channelOf: (type) => (Object.hasOwn(channels, type) ? channels[type] : undefined),
    admitUser: users.take,
    dismissUser: users.give,
    noStranger: () => {
      strangers -= 1;
    },
    acked: (status, ms) => telemetry.acked(status, ms / 1000),
    joined: telemetry.joined,
  };

  const sockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    // Twice the frame limit, so that a frame somewhat over it can still be answered by its own code.
    maxPayload: 2 * maxFrameBytes,
  });
  const http = createHttpHandler({
    db,
    shares,
    standbys,
    live,
    settings,
    log,
    verifyToken,
    telemetry,
    readiness,
    notifications,
    addresses,
    users,
    ledger,
    doctor: options.doctor,
    usersIn: (document) => usersIn(connections, document),
    port: () => port,
    isDraining: () => draining,
    notReady: () => notReady?.(),
  });
  // A Last-Event-ID holds a position for each space of its user.
  const server = createServer({ maxHeaderSize: maxIdLength + 2 * maxTokenLength }, http.handle);
  // A proxy that finds a connection closed just when it sends a request answers 502: it has to be the one that closes.
  server.keepAliveTimeout = settings.keepAliveMs;
  server.maxConnections = settings.maxSockets + settings.maxStreams + plainConnections;
  // Half a request shows no token and asks for nothing. Behind a proxy all connections are its own.
  const connected = createCounts(settings.trustProxy ? 0 : connectionsPerSocket * settings.maxSocketsPerAddress);
  server.on("connection", (stream) => {
    const address = networkOf(stream.remoteAddress ?? "");
    if (!connected.take(address)) return void stream.destroy();
    stream.on("close", () => connected.give(address));
  });

  server.on("upgrade", (request: IncomingMessage, stream: Duplex, head: Buffer) => {
    stream.on("error", (error) => log.debug({ err: error }, "connection error"));
    const { target, refused } = admit(request, settings);
    if (refused !== undefined) return reject(stream, `${refused.status} ${STATUS_CODES[refused.status]}`);
    const address = addressOfClient(request, settings);
    const token = tokenOf(request);
    if (target.pathname !== "/sync") return reject(stream, "404 Not Found");
    if (draining) return reject(stream, "503 Service Unavailable");
    if (token.length > maxTokenLength) return reject(stream, "431 Request Header Fields Too Large");
    if (connections.size >= settings.maxSockets || strangers >= settings.maxUnauthenticatedSockets) {
      return reject(stream, "503 Service Unavailable");
    }
    if (!addresses.take(address)) return reject(stream, "429 Too Many Requests");
    let open = true;
    const release = () => {
      if (open) addresses.give(address);
      open = false;
    };
    stream.once("close", release);
    sockets.handleUpgrade(request, stream, head, (socket) => {
      lastSocket += 1;
      strangers += 1;
      const connection = createConnection({ socket, stream, token, id: String(lastSocket) }, services, () => {
        connections.delete(connection);
      });
      connections.add(connection);
    });
  });

  const tickMs = Math.max(20, Math.min(250, settings.recheckMs / 4));
  let tickedAt = Date.now();
  let late = 0;
  const tick = setInterval(() => {
    const now = Date.now();
    // After the process stood still timers come first, and then what clients have sent meanwhile: nobody is silent before that is read.
    late = now - tickedAt > tickMs + standstillMs ? late + 1 : 0;
    tickedAt = now;
    if (late === 0 || late > standstills) {
      for (const connection of connections) connection.tick(now);
      http.tick(now);
    }
    for (const { owner, bytes } of ledger.over()) relieve(owner, bytes);
    if (now < recheckAt) return;
    recheckAt = Number.POSITIVE_INFINITY;
    recheckAccess(shares.worker, membersOf(connections))
      .catch((error: unknown) =>
        log.warn({ err: error }, "whether members may still read could not be checked; the next round tries again"),
      )
      .finally(() => {
        recheckAt = Date.now() + settings.recheckMs;
      });
  }, tickMs);

  /** Ends those of an owner's sockets that hold most, until so much is let go of. */
  function relieve(owner: string, bytes: number): void {
    const own = [...connections].filter(({ account }) => account.owner() === owner);
    let left = bytes;
    for (const connection of own.sort((a, b) => b.account.held() - a.account.held())) {
      if (left <= 0) return;
      left -= connection.account.held();
      log.warn(
        { bytes: connection.account.held() },
        "a socket was ended: more was held for its user than may be (PERCH_MAX_HELD_BYTES_PER_USER); its client reads too slowly, or sends too much at once",
      );
      connection.terminate();
    }
  }

  let closing: Promise<void> | undefined;
  async function close(withinMs: number): Promise<void> {
    draining = true;
    clearInterval(tick);
    http.close();
    metricsServer?.close();
    let deadline: NodeJS.Timeout | undefined;
    const overdue = new Promise<void>((resolve) => {
      deadline = setTimeout(() => {
        for (const connection of connections) connection.terminate();
        server.closeAllConnections();
        metricsServer?.closeAllConnections();
        resolve();
      }, withinMs);
    });
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    const drained = [...connections].map(async (connection) => {
      await Promise.race([connection.drain(), overdue]);
      connection.close(closeCode.serviceRestart, "restarting");
    });
    await Promise.all(drained);
    await Promise.race([Promise.all([closed, exchange.close(), encrypted.close()]), overdue]);
    if (options.notifications === undefined) await Promise.race([notifications.close(), overdue]);
    clearTimeout(deadline);
  }

  const metricsServer = settings.metricsPort === undefined ? undefined : createServer(http.handle);
  let port = settings.port;
  try {
    await loadParser();
    port = await listen(server, settings.port, settings.host);
    if (metricsServer !== undefined) await listen(metricsServer, settings.metricsPort ?? 0, settings.host);
  } catch (error) {
    clearInterval(tick);
    server.close();
    await exchange.close();
    throw error;
  }
  if (options.notifications === undefined) notifications.keepStarting();
  for (const each of [server, metricsServer])
    each?.on("error", (error) =>
      log.error(
        { err: error },
        "the port that is listened on has a fault; restart this process if clients cannot connect",
      ),
    );
  const host = settings.host.includes(":") ? `[${settings.host.replace(/^\[|\]$/g, "")}]` : settings.host;

  return {
    url: `http://${host}:${port}`,
    port,
    metrics: telemetry.metrics,
    close(withinMs = settings.drainMs) {
      closing ??= close(withinMs);
      return closing;
    },
  };
}

/** Who has joined a document here, each once. */
function usersIn(connections: Iterable<OpenConnection>, document: DocumentKey): readonly string[] {
  const users = new Set<string>();
  for (const member of membersOf(connections)) {
    const admission = member.admission();
    if (admission !== undefined && documentId(admission.key) === documentId(document))
      users.add(admission.identity.userId);
  }
  return [...users].slice(0, 100);
}

function* membersOf(connections: Iterable<OpenConnection>) {
  for (const connection of connections) yield* connection.members.values();
}

/** Refuses an upgrade, by HTTP. */
function reject(stream: Duplex, status: string): void {
  stream.once("finish", () => stream.destroy());
  stream.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

/** Out: the port, which is another than asked for where that was 0. */
async function listen(server: Server, port: number, host: string): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
  return (server.address() as AddressInfo).port;
}
