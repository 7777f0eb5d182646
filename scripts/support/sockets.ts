import { WebSocket } from "ws";

/**
 * The published client finds its socket where browsers have it: one place for the whole process, which test files share. So it is
 * filled once, by importing this, and each URL gets its own kind of socket by its `?token=`; the others get that of `ws`.
 */
const kinds = new Map<string, (url: string) => WebSocket>();

/** Clients whose URL carries `?token=<token>` get what `open` returns, in place of what was said before; call it before the client connects. */
export function socketsOf(token: string, open: (url: string) => WebSocket): void {
  kinds.set(token, open);
}

const opened = (url: string): WebSocket =>
  kinds.get(new URL(url).searchParams.get("token") ?? "")?.(url) ?? new WebSocket(url);

Object.assign(globalThis, { WebSocket: new Proxy(WebSocket, { construct: (_, [url]) => opened(url) }) });
