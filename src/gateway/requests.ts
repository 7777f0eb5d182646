import type { IncomingMessage } from "node:http";
import { PerchError } from "../errors.js";
import { type GatewaySettings, isDevelopmentMode, isLoopback } from "./settings.js";

/** The path of a request and its query. */
export function targetOf(request: IncomingMessage): URL {
  try {
    return new URL(request.url ?? "/", "http://gateway");
  } catch {
    return new URL("http://gateway/");
  }
}

/** The token of a request, from the header or else the query; empty when there is none. */
export function tokenOf(request: IncomingMessage, target: URL): string {
  const [, bearer] = /^Bearer +(\S+)\s*$/i.exec(request.headers.authorization ?? "") ?? [];
  return bearer ?? target.searchParams.get("token") ?? "";
}

/** The client's address, as far as it can be known. */
export function addressOfClient(request: IncomingMessage, settings: Pick<GatewaySettings, "trustProxy">): string {
  const forwarded = settings.trustProxy ? request.headers["x-forwarded-for"] : undefined;
  // The last one was added by the proxy itself; those before it are what the client claimed.
  const last = String(forwarded ?? "")
    .split(",")
    .at(-1)
    ?.trim();
  return last || request.socket.remoteAddress || "";
}

/**
 * Whether a web page of this origin may talk to the gateway. Programs that are no browser send no Origin. In development
 * mode, where a token can be guessed, only pages of this machine may, unless others are named.
 */
export function isAllowedOrigin(origin: string | undefined, settings: GatewaySettings): boolean {
  if (origin === undefined) return true;
  const { allowedOrigins } = settings;
  if (allowedOrigins !== undefined) return allowedOrigins.includes("*") || allowedOrigins.includes(origin);
  if (!isDevelopmentMode(settings)) return true;
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
  if (Number(request.headers["content-length"] ?? 0) > limit) throw tooLarge();
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > limit) throw tooLarge();
    arrived(chunk.length);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
