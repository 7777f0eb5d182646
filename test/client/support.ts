import { SignJWT } from "jose";
import { createPerchClient, type PerchClient, type PerchClientOptions } from "../../src/client/index.js";
import { startTestServer, type TestServer } from "../../src/testing.js";
import { cleanup } from "../gateway/support.js";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.js";

/** A server of perch/testing, ended after the test. */
export async function testServer(settings: Record<string, string> = {}): Promise<TestServer> {
  const server = await startTestServer({ PERCH_RECHECK_MS: "100", ...settings });
  cleanup(() => server.close());
  return server;
}

/** Between a client and a server, to be cut and held; closed after the test. */
export async function badNetwork(server: { url: string }): Promise<TcpProxy & { url: string }> {
  const proxy = await startTcpProxy({ port: Number(new URL(server.url).port) });
  cleanup(() => proxy.close());
  return Object.assign(proxy, { url: `http://127.0.0.1:${proxy.port}` });
}

export const as = (user: string, server: { url: string }, options: Partial<PerchClientOptions> = {}): PerchClient =>
  createPerchClient({ url: server.url, token: user, clientId: `${user}-phone`, ...options });

export const secret = "s".repeat(32);

/** A token that a server with this secret takes, for so many seconds. */
export const tokenOf = (user: string, seconds: number): Promise<string> =>
  new SignJWT({ sub: user })
    .setProtectedHeader({ alg: "HS256" })
    .setExpirationTime(Math.floor(Date.now() / 1_000) + seconds)
    .sign(new TextEncoder().encode(secret));
