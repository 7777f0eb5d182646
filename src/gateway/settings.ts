import { z } from "zod";
import {
  count,
  countOrNone,
  describeSettings,
  type Environment,
  flag,
  list,
  milliseconds,
  readSettings,
  type SettingDescription,
  SettingsError,
  type SettingsOf,
} from "../lib/settings.js";

/** Names without scheme or port, as they stand in Host. */
const hostNames = list.transform((names, context) => {
  for (const name of names) {
    if (!/^([\w.-]+|\[[\da-f:.]+\])$/i.test(name)) {
      context.addIssue(`"${name}" is no host name: names by commas, without scheme and port`);
    }
  }
  return names.map((name) => name.toLowerCase());
});

/** Origins as browsers send them, whichever way they were written. What no browser could ever send is an error. */
const origins = list.transform((texts, context) =>
  texts.map((text) => {
    const origin = text === "*" || text === "null" ? text : originOf(text);
    if (origin === undefined) {
      context.addIssue(`"${text}" can never match: write scheme://host or scheme://host:port, by commas, or *`);
    }
    return origin ?? text;
  }),
);

/** Scheme, host and port in the one spelling of Origin; undefined for what has more to it, or less. */
function originOf(text: string): string | undefined {
  const [, scheme = "", authority = ""] = /^([a-z][a-z\d+.-]*):\/\/([^\s/?#@*;\\]+)\/?$/i.exec(text) ?? [];
  if (authority === "" || !URL.canParse(`http://${authority}`)) return undefined;
  // Only of these two does URL know the port that goes unsaid.
  const base = /^https?$/i.test(scheme) ? scheme.toLowerCase() : "http";
  const { host } = new URL(`${base}://${authority}`);
  return `${scheme.toLowerCase()}://${base === scheme.toLowerCase() ? host : authority.toLowerCase()}`;
}

/** Every setting of the gateway; `src/lib/settings.ts` says how to add one. */
export const gatewaySettingTable = {
  host: z.string().min(1).default("127.0.0.1").describe("address to listen on"),
  port: z.coerce.number().int().min(0).max(65_535).default(4466).describe("port to listen on; 0 takes a free one"),
  metricsPort: z.coerce
    .number()
    .int()
    .min(0)
    .max(65_535)
    .optional()
    .describe(
      "port for /metrics alone, on the same address; unset: /metrics is on PERCH_PORT, where everybody can read it",
    ),
  jwtSecret: z
    .string()
    .refine((secret) => Buffer.byteLength(secret) >= 32, "shorter than 32 bytes, so it could be guessed from one token")
    .optional()
    .describe("secret of HS256 tokens, 32 bytes or more"),
  jwksUrl: z.url().optional().describe("where the public keys of RS, PS, ES and EdDSA tokens are"),
  jwtIssuer: z.string().min(1).optional().describe("the iss a token must have"),
  jwtAudience: z.string().min(1).optional().describe("the aud a token must have"),
  jwtClockSkewSeconds: z.coerce.number().min(0).max(300).default(1).describe("by how much clocks may differ"),
  jwtWithoutExpiry: flag.describe("whether tokens without exp are taken, which are valid for as long as their key is"),
  allowedHosts: hostNames
    .optional()
    .describe("names that a request's Host may have besides loopback's, by commas; unset: any with tokens"),
  allowedOrigins: origins
    .optional()
    .describe("web origins that may connect, by commas, or *; unset: any with tokens, loopback in development mode"),
  trustProxy: flag.describe("take addresses from X-Forwarded-For: only behind a proxy that sets it"),
  maxSockets: count(50_000).describe("open sockets"),
  maxSocketsPerAddress: countOrNone(2_000).describe(
    "open sockets and streams of one address, IPv6 by its /64; behind a proxy see PERCH_TRUST_PROXY; 0: no limit",
  ),
  maxSocketsPerUser: countOrNone(1_000).describe("open sockets and streams of one user; 0: no limit"),
  maxRoomsPerSocket: count(1_000).describe("rooms joined on one socket"),
  maxUnauthenticatedSockets: count(2_500).describe("open sockets that have shown no valid token"),
  unauthenticatedMs: milliseconds(10_000).describe("how long a socket may stay open without a valid token"),
  keepAliveMs: milliseconds(65_000).describe(
    "how long an idle HTTP connection is kept: longer than a proxy in front keeps its own",
  ),
  pingMs: milliseconds(30_000).describe("how often a silent socket is pinged; still silent, it is closed"),
  maxUpdateBytes: count(16 * 1024 * 1024).describe("a client's update, also one that came in fragments"),
  maxFragments: count(4_096).describe("fragments of one batch"),
  maxIncompleteBatches: count(16).describe("batches of one room and socket whose fragments have not all come"),
  fragmentTimeoutMs: milliseconds(10_000).describe("how long to wait for the next fragment of a batch"),
  maxBatchesPerSecond: count(20_000).describe("batches of one socket; twice as many in a burst"),
  maxPendingBytes: count(32 * 1024 * 1024).describe("unanswered bytes of one socket, before perch stops reading it"),
  maxQueuedBytes: count(8 * 1024 * 1024).describe("unsent bytes of one socket, before perch stops queueing for it"),
  maxHeldBytesPerUser: count(128 * 1024 * 1024).describe(
    "what is held in memory for one user: unread, unsent and unanswered bytes, rooms; all who have shown no token are one",
  ),
  slowReaderMs: milliseconds(30_000).describe(
    "how long that queue, a backfill, an answer or an event may wait without going on before the client is cut off",
  ),
  mergePatienceMs: milliseconds(2_000).describe("how long a PATCH waits to be merged before it is answered as pending"),
  maxStreams: count(20_000).describe("open event streams of GET /v1/changes"),
  maxStreamPageBytes: count(256 * 1024).describe("an event of such a stream; one change may be longer"),
  streamIntervalMs: milliseconds(50).describe(
    "how often a stream is told of news at most; what comes meanwhile comes together",
  ),
  streamReads: count(4).describe("streams that read the log at once, the others wait in line; less than the pool size"),
  streamHeartbeatMs: milliseconds(15_000).describe("how often a silent stream is kept alive"),
  connectionsPerUser: count(2).describe("connections that what one user asks over HTTP uses at once"),
  maxRequestsPerUser: count(100).describe(
    "requests of one user under way, those that wait included; more are answered with 429",
  ),
  waitingConnections: count(2).describe(
    "connections that wait for what others hold locked; what else needs it waits in memory",
  ),
  lockWaitMs: milliseconds(5_000).describe(
    "how long a request waits for what others hold locked before it is answered with 503",
  ),
  maxBodyBytes: count(8 * 1024 * 1024).describe("the body of a request"),
  presenceIntervalMs: milliseconds(33).describe("how often the presence of a room is passed on at most"),
  presenceTimeoutMs: milliseconds(30_000).describe("how long a presence entry is kept for late joiners"),
  persistedPresenceMs: milliseconds(24 * 60 * 60 * 1_000).describe("how long an entry of persisted presence is kept"),
  presenceExchangeMs: milliseconds(100).describe(
    "how often a node stores presence at most, for other nodes or for later",
  ),
  maxPresenceBytes: count(512 * 1024).describe(
    "the presence of a room: what its entries take, some 300 bytes each besides their own",
  ),
  maxPresenceKeys: count(1_000).describe("the presence keys of a room"),
  maxPersistedPresenceBytes: count(1024 * 1024).describe(
    "the persisted presence of a user, counted so; the oldest goes first",
  ),
  viewerPresence: flag.describe("whether viewers may show their presence, not only see it"),
  recheckMs: milliseconds(1_000).describe("how often the access of open rooms and streams is checked again"),
  joinPatienceMs: milliseconds(5_000).describe("how long a join is tried while the database is away"),
  drainMs: milliseconds(4_000).describe("how long shutting down waits for what is in flight"),
};

export interface GatewaySettings extends SettingsOf<typeof gatewaySettingTable> {
  /** Whether a token is the plain user id. Not read from the environment: whoever starts a process for development asks for it. */
  readonly development: boolean;
}

/**
 * Reads the gateway's settings. In: environment variables; `development`: whether to serve without authentication where no key is
 * configured. Throws SettingsError naming every variable that is wrong, or what is missing to authenticate anybody.
 */
export function gatewaySettings(
  env: Environment = process.env,
  { development = false }: { development?: boolean } = {},
): GatewaySettings {
  const read = readSettings(gatewaySettingTable, env);
  const settings = { ...read, development: development && !hasKey(read) };
  const problems = authenticationProblems(settings);
  if (problems.length > 0) throw new SettingsError(problems);
  return settings;
}

type Authentication = Pick<
  GatewaySettings,
  "jwtSecret" | "jwksUrl" | "jwtIssuer" | "jwtAudience" | "trustProxy" | "allowedOrigins" | "host" | "development"
>;

const hasKey = ({ jwtSecret, jwksUrl }: Pick<Authentication, "jwtSecret" | "jwksUrl">) =>
  jwtSecret !== undefined || jwksUrl !== undefined;

/** Fails closed: without a key there is only development mode, which has to be asked for and which nobody else may reach. */
function authenticationProblems(settings: Authentication): string[] {
  const { jwtIssuer, jwtAudience, trustProxy, allowedOrigins, host, development } = settings;
  if (hasKey(settings)) return [];
  const checked = [
    ...(jwtIssuer === undefined ? [] : ["PERCH_JWT_ISSUER"]),
    ...(jwtAudience === undefined ? [] : ["PERCH_JWT_AUDIENCE"]),
  ];
  if (checked.length > 0) {
    return [`${checked.join(" and ")} without a key to verify tokens with: set PERCH_JWT_SECRET or PERCH_JWKS_URL`];
  }
  if (!development) {
    return [
      "no way to verify tokens: set PERCH_JWT_SECRET (32 bytes or more) or PERCH_JWKS_URL; for development without authentication use perch start",
    ];
  }
  if (!isLoopback(host)) {
    return [
      `PERCH_HOST is ${host}, and neither PERCH_JWT_SECRET nor PERCH_JWKS_URL is set: in development mode a token is just a user id, so perch listens on loopback only`,
    ];
  }
  if (trustProxy) {
    return [
      "PERCH_TRUST_PROXY without PERCH_JWT_SECRET or PERCH_JWKS_URL: development mode is not for use behind a proxy",
    ];
  }
  if (allowedOrigins?.includes("*")) {
    return ["PERCH_ALLOWED_ORIGINS is * without PERCH_JWT_SECRET or PERCH_JWKS_URL: any web page could be anybody"];
  }
  return [];
}

/** Throws for settings that were put together in code, and would let in whoever comes. */
export function requireAuthentication(settings: Authentication): void {
  const problems = authenticationProblems(settings);
  if (problems.length > 0) throw new SettingsError(problems);
}

/** Whether only this machine can reach a host name or address. */
export function isLoopback(host: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?|\[?::ffff:127(\.\d{1,3}){3}\]?)$/i.test(host);
}

/** All settings of the gateway, for `--help` and the documentation. */
export const describeGatewaySettings = (): SettingDescription[] => describeSettings(gatewaySettingTable);
