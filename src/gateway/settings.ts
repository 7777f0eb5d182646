import { z } from "zod";

const count = (fallback: number) => z.coerce.number().int().min(1).default(fallback);
const countOrNone = (fallback: number) => z.coerce.number().int().min(0).default(fallback);
const list = z.string().transform((text) => text.split(",").flatMap((item) => item.trim() || []));
const flag = z
  .enum(["true", "false", "1", "0"])
  .default("false")
  .transform((text) => text === "true" || text === "1");

/** Every setting of the gateway. Its environment variable is PERCH_ and the name: `jwksUrl` is PERCH_JWKS_URL. */
const types = {
  host: z.string().min(1).default("127.0.0.1").describe("address to listen on"),
  port: z.coerce.number().int().min(0).max(65_535).default(4466).describe("port to listen on; 0 takes a free one"),
  jwtSecret: z.string().min(1).optional().describe("secret of HS256 tokens"),
  jwksUrl: z.url().optional().describe("where the public keys of RS, PS, ES and EdDSA tokens are"),
  jwtIssuer: z.string().min(1).optional().describe("the iss a token must have"),
  jwtAudience: z.string().min(1).optional().describe("the aud a token must have"),
  jwtClockSkewSeconds: z.coerce.number().min(0).max(300).default(1).describe("by how much clocks may differ"),
  allowedOrigins: list
    .optional()
    .describe("web origins that may connect, by commas, or *; unset: any with tokens, loopback in development mode"),
  trustProxy: flag.describe("take addresses from X-Forwarded-For: only behind a proxy that sets it"),
  maxSockets: count(50_000).describe("open sockets"),
  maxSocketsPerAddress: countOrNone(0).describe("open sockets and streams of one address; 0: no limit"),
  maxSocketsPerUser: countOrNone(1_000).describe("open sockets and streams of one user; 0: no limit"),
  maxRoomsPerSocket: count(1_000).describe("rooms joined on one socket"),
  unauthenticatedMs: count(30_000).describe("how long a socket may stay open without a valid token"),
  pingMs: count(30_000).describe("how often a silent socket is pinged; still silent, it is closed"),
  maxUpdateBytes: count(16 * 1024 * 1024).describe("a client's update, also one that came in fragments"),
  maxFragments: count(4_096).describe("fragments of one batch"),
  maxIncompleteBatches: count(16).describe("batches of one room and socket whose fragments have not all come"),
  fragmentTimeoutMs: count(10_000).describe("how long to wait for the next fragment of a batch"),
  maxBatchesPerSecond: count(20_000).describe("batches of one socket; twice as many in a burst"),
  maxPendingBytes: count(32 * 1024 * 1024).describe("unanswered bytes of one socket, before perch stops reading it"),
  maxQueuedBytes: count(8 * 1024 * 1024).describe("unsent bytes of one socket, before perch stops queueing for it"),
  maxHeldBytesPerUser: count(128 * 1024 * 1024).describe(
    "what is held in memory for one user: unread, unsent and unanswered bytes, rooms; all who have shown no token are one",
  ),
  slowReaderMs: count(30_000).describe(
    "how long that queue, a backfill, an answer or an event may wait without going on before the client is cut off",
  ),
  mergePatienceMs: count(2_000).describe("how long a PATCH waits to be merged before it is answered as pending"),
  maxStreams: count(20_000).describe("open event streams of GET /v1/changes"),
  maxStreamPageBytes: count(256 * 1024).describe("an event of such a stream; one change may be longer"),
  streamIntervalMs: count(50).describe(
    "how often a stream is told of news at most; what comes meanwhile comes together",
  ),
  streamReads: count(4).describe("streams that read the log at once, the others wait in line; less than the pool size"),
  streamHeartbeatMs: count(15_000).describe("how often a silent stream is kept alive"),
  maxBodyBytes: count(8 * 1024 * 1024).describe("the body of a request"),
  presenceIntervalMs: count(33).describe("how often the presence of a room is passed on at most"),
  presenceTimeoutMs: count(30_000).describe("how long a presence entry is kept for late joiners"),
  persistedPresenceMs: count(24 * 60 * 60 * 1_000).describe("how long an entry of persisted presence is kept"),
  presenceExchangeMs: count(100).describe("how often a node stores presence at most, for other nodes or for later"),
  maxPresenceBytes: count(256 * 1024).describe("the presence of a room, all entries together"),
  viewerPresence: flag.describe("whether viewers may show their presence, not only see it"),
  recheckMs: count(1_000).describe("how often the access of open rooms and streams is checked again"),
  joinPatienceMs: count(5_000).describe("how long a join is tried while the database is away"),
  drainMs: count(4_000).describe("how long shutting down waits for what is in flight"),
};

const schema = z.object(types);

export type GatewaySettings = z.output<typeof schema>;

const names = Object.keys(types) as (keyof typeof types)[];

function variable(name: string): string {
  return `PERCH_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

/**
 * Reads the gateway's settings. In: environment variables; an empty one counts as unset.
 * Throws an Error naming every variable that is wrong, or when development mode would be open to the network.
 */
export function gatewaySettings(env: Readonly<Record<string, string | undefined>> = process.env): GatewaySettings {
  const given = Object.fromEntries(names.map((name) => [name, env[variable(name)] || undefined]));
  const { data: settings, error } = schema.safeParse(given);
  if (settings === undefined) {
    const problems = error.issues.map((issue) => `${variable(String(issue.path[0]))}: ${issue.message}`);
    throw new Error(`wrong settings: ${problems.join("; ")}`);
  }
  refuseOpenDevelopmentMode(settings);
  return settings;
}

/** In development mode anybody who can connect is whoever they say: that must be nobody but this machine. */
export function refuseOpenDevelopmentMode(settings: GatewaySettings): void {
  if (!isDevelopmentMode(settings) || isLoopback(settings.host)) return;
  throw new Error(
    `PERCH_HOST is ${settings.host}, and neither PERCH_JWT_SECRET nor PERCH_JWKS_URL is set: in development mode a token is just a user id, so perch listens on loopback only`,
  );
}

/** Whether no way to verify tokens is configured, so that a token is the plain user id. */
export function isDevelopmentMode(settings: Pick<GatewaySettings, "jwtSecret" | "jwksUrl">): boolean {
  return settings.jwtSecret === undefined && settings.jwksUrl === undefined;
}

/** Whether only this machine can reach a host name or address. */
export function isLoopback(host: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?|\[?::ffff:127(\.\d{1,3}){3}\]?)$/i.test(host);
}

export interface SettingDescription {
  /** The environment variable. */
  readonly name: string;
  readonly description: string;
  /** Undefined when there is none. */
  readonly fallback: string | undefined;
}

/** All settings of the gateway, for `--help` and the documentation. */
export function describeGatewaySettings(): SettingDescription[] {
  return names.map((name) => {
    const type = types[name];
    const { data: fallback } = type.safeParse(undefined);
    return {
      name: variable(name),
      description: type.description ?? "",
      fallback: fallback === undefined ? undefined : String(fallback),
    };
  });
}
