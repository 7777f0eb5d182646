import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import { PerchError } from "../errors.js";
import { type Problem, problem } from "./problems.js";
import { type HttpSettings, isLoopback } from "./settings.js";

/** What a request asks for, and with what right it does so. */
export type Admission =
  | { readonly target: URL; readonly refused?: never }
  | { readonly target?: never; readonly refused: Problem };

/**
 * Looks at a request before anything else does, whatever it asks for: a GET, a stream, a WebSocket. Out: its target, or why it is
 * turned away.
 */
export function admit(request: IncomingMessage, settings: HttpSettings): Admission {
  const target = targetOf(request.url ?? "");
  if (target === undefined) return refuse(400, "invalid", "the path is not in its plain form");
  if (!isAllowedHost(request.headers.host, settings)) {
    return refuse(403, "forbidden", "this name is not one of this server's", null, "PERCH_ALLOWED_HOSTS names more.");
  }
  const { origin } = request.headers;
  if (!isAllowedOrigin(origin, settings))
    return refuse(403, "forbidden", "this origin may not connect", null, originHint(settings));
  if (settings.development) {
    const forwarded = Object.keys(request.headers).find((name) => forwardingHeader.test(name));
    if (forwarded !== undefined) {
      return refuse(
        403,
        "forbidden",
        `in development mode whoever connects is whoever they say, so what a proxy passes on (${forwarded}) is refused`,
        null,
        "Set PERCH_JWT_SECRET or PERCH_JWKS_URL, and give users tokens; or let the proxy add no such header.",
      );
    }
    // A page elsewhere that only embeds or follows a link sends no Origin, and cannot be told from a program by anything else.
    if (origin === undefined && request.headers["sec-fetch-site"] === "cross-site") {
      return refuse(
        403,
        "forbidden",
        "pages of other sites may not connect in development mode",
        null,
        originHint(settings),
      );
    }
  }
  return { target };
}

const refuse = (...args: Parameters<typeof problem>): Admission => ({ refused: problem(...args) });

const originHint = ({ development }: HttpSettings) =>
  development
    ? "In development mode serve the page from this machine (http://localhost:…); elsewhere set PERCH_JWT_SECRET or PERCH_JWKS_URL."
    : "PERCH_ALLOWED_ORIGINS names the origins of pages that may.";

/** What proxies and load balancers add. */
const forwardingHeader =
  /^(forwarded|via|x-forwarded(-.*)?|x-original-.*|x-real-ip|(x-)?(cluster-)?client-ip|(true|fastly)-client-ip|cf-.*|x-envoy-.*)$/;

/**
 * The path of a request and its query; undefined where it has more than one reading. What stands in front of perch looks at the path
 * as it was sent; URL would resolve dots, backslashes and a second host behind its back, and lead past whatever it keeps from the outside.
 */
function targetOf(raw: string): URL | undefined {
  const [path = ""] = raw.split("?", 1);
  if (!/^\/(?!\/)[!-~]*$/.test(raw) || /[\\#]/.test(path)) return undefined;
  if (path.split("/").some((segment) => /^(\.|%2e){1,2}$/i.test(segment))) return undefined;
  return new URL(`http://gateway${raw}`);
}

/** The same of a request that was admitted: nobody need keep it. */
export const admittedTarget = (request: IncomingMessage): URL => new URL(`http://gateway${request.url}`);

/**
 * Whether a Host may be this server's name. A page whose name is made to lead to this machine (DNS rebinding) is of the same origin as
 * what it asks for, so neither Origin nor the browser gives it away; its name does.
 */
function isAllowedHost(host: string | undefined, { allowedHosts, development, host: own }: HttpSettings): boolean {
  if (allowedHosts === undefined && !development) return true;
  const [, name] = /^(\[[\da-f:.]+\]|[^\s@/:[\]]+)(?::\d{1,5})?$/i.exec(host ?? "") ?? [];
  if (name === undefined) return false;
  const ownName = own.includes(":") && !own.startsWith("[") ? `[${own}]` : own;
  return ["localhost", "127.0.0.1", "[::1]", ownName, ...(allowedHosts ?? [])].includes(name.toLowerCase());
}

/** The token of a request that was admitted, from the header or else the query; empty when there is none. */
export function tokenOf(request: IncomingMessage): string {
  const [, bearer] = /^Bearer +(\S+)\s*$/i.exec(request.headers.authorization ?? "") ?? [];
  return bearer ?? admittedTarget(request).searchParams.get("token") ?? "";
}

/** The client's address, as far as it can be known. */
export function addressOfClient(request: IncomingMessage, settings: Pick<HttpSettings, "trustProxy">): string {
  const forwarded = settings.trustProxy ? request.headers["x-forwarded-for"] : undefined;
  // The last one was added by the proxy itself; those before it are what the client claimed.
  const last = String(forwarded ?? "")
    .split(",")
    .at(-1)
    ?.trim();
  return networkOf(last || request.socket.remoteAddress || "");
}

/** Of an IPv6 address what one customer of a network has at least: the first 64 bits; all others are as they are. */
export function networkOf(address: string): string {
  const [, mapped] = /^::ffff:([\d.]+)$/i.exec(address) ?? [];
  if (mapped !== undefined || isIP(address) !== 6) return mapped ?? address;
  const [before = "", after] = (address.split("%")[0] ?? "").split("::");
  const groups = before.split(":").filter(Boolean);
  const rest = (after ?? "").split(":").filter(Boolean);
  const missing = after === undefined ? 0 : 8 - groups.length - rest.length;
  const all = [...groups, ...Array<string>(missing).fill("0"), ...rest];
  return `${all
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(":")}::/64`;
}

/**
 * Whether a web page of this origin may talk to the gateway. Programs that are no browser send no Origin. In development
 * mode, where a token can be guessed, only pages of this machine may, unless others are named.
 */
function isAllowedOrigin(origin: string | undefined, settings: HttpSettings): boolean {
  if (origin === undefined) return true;
  const { allowedOrigins } = settings;
  if (allowedOrigins !== undefined) return allowedOrigins.includes("*") || allowedOrigins.includes(origin);
  if (!settings.development) return true;
  try {
    return isLoopback(new URL(origin).hostname);
  } catch {
    return false;
  }
}

/**
 * Reads a body of at most `limit` bytes; `arrived` is told of each piece, and may throw. Throws PE413 when it is larger, an Error when the
 * client goes away.
 */
export async function readBody(
  request: IncomingMessage,
  limit: number,
  arrived: (bytes: number) => void = () => undefined,
): Promise<string> {
  const tooLarge = () =>
    new PerchError("PE413", `the body is over the limit of ${limit} bytes`, { limit: "body_bytes", max: limit });
  const encoding = request.headers["content-encoding"]?.trim().toLowerCase() ?? "identity";
  if (encoding !== "" && encoding !== "identity") {
    throw new PerchError("PE422", "the body is compressed; send it as it is, without content-encoding", { encoding });
  }
  if (Number(request.headers["content-length"] ?? 0) > limit) throw tooLarge();
  let gathered: Buffer = Buffer.alloc(0);
  let size = 0;
  // Not destroyed where it is too long: the rest is let go of when it has been answered.
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    if (size + chunk.length > limit) throw tooLarge();
    arrived(chunk.length);
    gathered = append(gathered, size, chunk);
    size += chunk.length;
  }
  const bytes = gathered.subarray(0, size);
  try {
    return utf8.decode(bytes);
  } catch {
    const what = bytes[0] === 0x1f && bytes[1] === 0x8b ? "compressed (gzip)" : "not UTF-8";
    throw new PerchError("PE422", `the body is ${what}; send JSON as UTF-8, as it is`, { expected: "UTF-8" });
  }
}

/**
 * Puts a piece behind the first `size` bytes of a buffer, or of a larger one, twice as long. What came from the socket is let go of at once: kept
 * until all is there, a long body would be hundreds of pieces among everything else, and the allocator could give none of their room back.
 */
function append(gathered: Buffer, size: number, piece: Buffer): Buffer {
  if (size === 0) return piece;
  const needed = size + piece.length;
  const target = needed <= gathered.length ? gathered : Buffer.alloc(2 * needed);
  if (target !== gathered) gathered.copy(target, 0, 0, size);
  piece.copy(target, size);
  return target;
}

/** Replacing what does not decode would store another text than was sent. */
const utf8 = new TextDecoder("utf-8", { fatal: true });
