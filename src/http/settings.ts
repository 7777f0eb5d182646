import { z } from "zod";
import { count, flag, list, milliseconds, type SettingsOf } from "../lib/settings.js";

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

/** Settings of the HTTP server, and of who may speak to it; `src/lib/settings.ts` says how to add one. */
export const httpSettingTable = {
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
  allowedHosts: hostNames
    .optional()
    .describe("names that a request's Host may have besides loopback's, by commas; unset: any with tokens"),
  allowedOrigins: origins
    .optional()
    .describe("web origins that may connect, by commas, or *; unset: any with tokens, loopback in development mode"),
  console: z.enum(["on", "off"]).default("on").describe("whether there is a console at /console/: on or off"),
  trustProxy: flag.describe("take addresses from X-Forwarded-For: only behind a proxy that sets it"),
  keepAliveMs: milliseconds(65_000).describe(
    "how long an idle HTTP connection is kept: longer than a proxy in front keeps its own",
  ),
  maxBodyBytes: count(8 * 1024 * 1024).describe("the body of a request; of a pull or a snapshot 1 MB at most"),
  maxRequestsPerUser: count(100).describe(
    "requests of one user under way, those that wait included; more are answered with 429",
  ),
  connectionsPerUser: count(2).describe("connections that what one user asks over HTTP uses at once"),
  heavyConnections: count(1).describe(
    "of all connections, those that users have at once, all together, whose requests take much longer than others'",
  ),
  waitingConnections: count(2).describe(
    "connections that wait for what others hold locked; what else needs it waits in memory",
  ),
  lockWaitMs: milliseconds(5_000).describe(
    "how long a request waits for what others hold locked before it is answered with 503",
  ),
  mergePatienceMs: milliseconds(2_000).describe("how long a PATCH waits to be merged before it is answered as pending"),
  maxStreams: count(20_000).describe("open event streams of GET /v1/changes"),
  maxStreamPageBytes: count(256 * 1024).describe("an event of such a stream; one change may be longer"),
  streamIntervalMs: milliseconds(50).describe(
    "how often a stream is told of changes at most; what comes meanwhile comes together",
  ),
  streamReads: count(4).describe("streams that read the log at once, the others wait in line; less than the pool size"),
  shapeWaitMs: milliseconds(20_000).describe("how long a live request of a shape waits for a change"),
  shapeStreamMs: milliseconds(60_000).describe("how long an event stream of a shape lasts; its client comes back"),
  shapeChunkBytes: count(4 * 1024 * 1024).describe("an answer with rows or changes of a shape; one row may be longer"),
  shapeStatementMs: milliseconds(10_000).describe(
    "how long a filter of a shape may be evaluated for one answer before it is ended with 503",
  ),
  streamHeartbeatMs: milliseconds(15_000).describe("how often a silent stream is kept alive"),
};

export interface HttpSettings extends SettingsOf<typeof httpSettingTable> {
  readonly development: boolean;
  readonly slowReaderMs: number;
  readonly recheckMs: number;
}

/** Whether only this machine can reach a host name or address. */
export function isLoopback(host: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?|\[?::ffff:127(\.\d{1,3}){3}\]?)$/i.test(host);
}
