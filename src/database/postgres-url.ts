/**
 * URLs of Postgres as libpq reads them, where they name several hosts, or a folder of sockets; the driver knows one host in a URL. What
 * goes on to the driver is a URL for each host; everything in it that is not about hosts stays as it was written.
 */

/** What is wrong with a URL, without the URL: it may hold a password. */
export class PostgresUrlError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "PostgresUrlError";
  }
}

/** Which servers a connection may lead to; the words are libpq's. */
export const targets = ["any", "read-write", "read-only", "primary", "standby", "prefer-standby"] as const;
export type Target = (typeof targets)[number];

export interface PostgresHost {
  /** For people: host and port. */
  readonly name: string;
  /** For the driver. */
  readonly url: string;
}

export interface PostgresUrl {
  /** For people, without a password. */
  readonly name: string;
  /** In the order in which they are tried. At least one. */
  readonly hosts: readonly PostgresHost[];
  readonly target: Target;
  /** Whether each connection begins with a host at random. */
  readonly balanced: boolean;
  /** How long an attempt at one host may take; undefined when the URL does not say. */
  readonly connectTimeoutMs: number | undefined;
  /** Parts as they were written, with their escapes. */
  readonly parts: { readonly user: string; readonly database: string; readonly query: string };
}

const shape = "expected postgres://USER:PASSWORD@HOST:PORT/DATABASE, or HOST:PORT,HOST:PORT for several hosts";
/** Users and passwords go on to the last @. */
const grammar = /^postgres(?:ql)?:\/\/(?:([^/?#]*)@)?([^/?#@]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/;
const defaultPort = 5432;
/** Enough for any cluster, and few enough to be tried one after the other. */
const maxHosts = 16;
/** What only perch reads. */
const ours = new Set(["host", "port", "target_session_attrs", "load_balance_hosts", "connect_timeout"]);

/** Throws PostgresUrlError. */
export function readPostgresUrl(url: string): PostgresUrl {
  const [, user = "", authority = "", database = "", query = ""] =
    grammar.exec(url) ?? fail(`the database URL cannot be read: ${shape}`);
  for (const part of [user, authority, database, query]) decode(part);
  const pairs = query === "" ? [] : query.split("&").map((pair) => [pair, ...split(pair)] as const);
  const last = (name: string) => pairs.findLast(([, key]) => key === name)?.[2];

  const target = last("target_session_attrs") ?? "any";
  if (!isTarget(target)) fail(`the database URL has an unknown target_session_attrs: expected ${targets.join(", ")}`);
  const balance = last("load_balance_hosts") ?? "disable";
  if (balance !== "disable" && balance !== "random")
    fail("the database URL has an unknown load_balance_hosts: expected disable, random");

  // Where there is nothing to read that the driver would not, it has its own defaults (PGHOST, say).
  const isPlain = !authority.includes(",") && !pairs.some(([, key]) => ours.has(key));
  const addresses = addressesOf(authority, last("host"), last("port"));
  const rest = pairs.flatMap(([pair, key]) => (ours.has(key) ? [] : [pair]));
  const credentials = user === "" ? "" : `${user}@`;
  const hosts = addresses.map(({ host, port }): PostgresHost => {
    const isSocket = host.startsWith("/");
    const place = isSocket
      ? ""
      : `${host.includes(":") ? `[${host}]` : encodeURIComponent(host || "localhost")}:${port}`;
    const params = isSocket ? [`host=${encodeURIComponent(host)}`, `port=${port}`, ...rest] : rest;
    const asked = params.length === 0 ? "" : `?${params.join("&")}`;
    const own = `postgres://${credentials}${place}/${database}${asked}`;
    return { name: `${host || "localhost"}:${port}`, url: isPlain ? url : own };
  });
  return {
    name: `${hosts.map(({ name }) => name).join(",")}/${database}`,
    hosts,
    target,
    balanced: balance === "random" && hosts.length > 1,
    connectTimeoutMs: timeoutOf(last("connect_timeout")),
    parts: { user, database, query: rest.join("&") },
  };
}

function fail(message: string): never {
  throw new PostgresUrlError(message);
}

const isTarget = (text: string): text is Target => (targets as readonly string[]).includes(text);

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return fail("the database URL cannot be read: a % in it that is no escape of its own is written %25");
  }
}

function split(pair: string): [key: string, value: string] {
  const at = pair.indexOf("=");
  return at < 0 ? [decode(pair), ""] : [decode(pair.slice(0, at)), decode(pair.slice(at + 1))];
}

/** `host` and `port` of the query count more than what stands before the path. One port may be that of all hosts. */
function addressesOf(authority: string, host: string | undefined, port: string | undefined) {
  const read = authority.split(",").map((text) => {
    const [, name = "", number = ""] =
      /^(\[[^\]]*\]|[^:]*)(?::(.*))?$/.exec(text) ?? fail(`the database URL cannot be read: ${shape}`);
    return { host: decode(name).replace(/^\[(.*)\]$/, "$1"), port: number };
  });
  const hosts = host === undefined ? read.map((each) => each.host) : host.split(",");
  const ports = port === undefined ? (host === undefined ? read.map((each) => each.port) : [""]) : port.split(",");
  if (hosts.length > maxHosts) fail(`the database URL names more than ${maxHosts} hosts`);
  if (hosts.length > 1 && hosts.includes("")) fail("the database URL has an empty name among its hosts");
  if (ports.length !== 1 && ports.length !== hosts.length)
    fail(
      `the database URL names ${hosts.length} hosts and ${ports.length} ports: give one port for all, or one for each`,
    );
  return hosts.map((each, index) => ({ host: each, port: portOf(ports[ports.length === 1 ? 0 : index] ?? "") }));
}

function portOf(text: string): number {
  if (text === "") return defaultPort;
  const port = Number(text);
  if (!/^\d+$/.test(text) || port < 1 || port > 65_535)
    fail(`the database URL cannot be read: its port is no number from 1 to 65535; ${shape}`);
  return port;
}

function timeoutOf(text: string | undefined): number | undefined {
  if (text === undefined || text === "0") return undefined;
  if (!/^\d{1,6}$/.test(text)) fail("the database URL has a connect_timeout that is no number of seconds");
  // As libpq does: less than two seconds are two.
  return Math.max(2, Number(text)) * 1_000;
}
