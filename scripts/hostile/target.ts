import { connect, type Socket } from "node:net";
import { encode, MessageType, type ProtocolMessage } from "loro-protocol";
import { WebSocket } from "ws";
import type { Random } from "../faults/random.js";
import { userToken } from "../support/user-token.js";

/** What no attacker may ever be sent; it stands in a space of which none is a member. */
export const secret = "known-to-the-keeper-only";

/** What an attack is run against, and how it is counted what that cost the attackers. */
export interface Target {
  readonly httpUrl: string;
  readonly wsUrl: string;
  /** Of a database login that has perch_app, and of one that has nothing. */
  readonly databaseUrls: { readonly app: string; readonly nobody: string };
  /** The attacker. */
  readonly user: string;
  readonly random: Random;
  /** Aborted when the attack is to end. */
  readonly signal: AbortSignal;
  /** Posts JSON text as a user. Out: the status, 0 when the connection was cut; the answer is read and looked through. */
  post(path: string, body: string, method?: "POST" | "PATCH" | "PUT" | "GET"): Promise<number>;
  /** A WebSocket of the attacker's; closed when the attack ends. `reads`: whether it reads what it is sent. */
  socket(options?: { reads?: boolean; token?: boolean }): Promise<WebSocket>;
  send(socket: WebSocket, message: ProtocolMessage | Uint8Array | string): void;
  /** A connection that reads nothing. */
  deafSocket(): Socket;
  write(socket: Socket, text: string): void;
  join(socket: WebSocket, roomId: string, crdt?: ProtocolMessage["crdt"]): void;
  pause(ms: number): Promise<void>;
  token(): string;
}

export interface Tally {
  sentBytes: number;
  /** Answers in which the secret stood. */
  leaks: string[];
}

export interface TargetOptions
  extends Pick<Target, "httpUrl" | "wsUrl" | "databaseUrls" | "user" | "random" | "signal"> {
  readonly tally: Tally;
}

export function targetOf({ tally, ...options }: TargetOptions): Target {
  const { httpUrl, wsUrl, user, signal } = options;
  const token = () => userToken(user);

  function lookThrough(received: Buffer | string, where: string): void {
    if (received.includes(secret)) tally.leaks.push(`${user} was sent the secret by ${where}`);
  }

  const target: Target = {
    ...options,
    token,
    async post(path, body, method = "POST") {
      tally.sentBytes += body.length + path.length + 200;
      try {
        const response = await fetch(httpUrl + path, {
          method,
          headers: { authorization: `Bearer ${token()}` },
          ...(method !== "GET" && { body }),
          signal,
        });
        lookThrough(Buffer.from(await response.arrayBuffer()), path);
        return response.status;
      } catch {
        // Cut off, or refused: what an attacker has to expect.
        return 0;
      }
    },
    async socket({ reads = true, token: shown = true } = {}) {
      const socket = new WebSocket(`${wsUrl}${shown ? `?token=${token()}` : ""}`);
      signal.addEventListener("abort", () => socket.terminate(), { once: true });
      tally.sentBytes += 300;
      socket.on("error", () => undefined);
      socket.on("message", (data: Buffer) => lookThrough(data, "a socket"));
      await new Promise<void>((resolve) => socket.once("open", resolve).once("close", resolve));
      if (!reads) socket.pause();
      return socket;
    },
    send(socket, message) {
      if (socket.readyState !== WebSocket.OPEN) return;
      const data = typeof message === "string" || message instanceof Uint8Array ? message : encode(message);
      tally.sentBytes += data.length;
      socket.send(data);
    },
    deafSocket() {
      const { port } = new URL(httpUrl);
      const socket = connect(Number(port), "127.0.0.1");
      signal.addEventListener("abort", () => socket.destroy(), { once: true });
      socket.on("error", () => undefined);
      return socket;
    },
    write(socket, text) {
      if (!socket.writable) return;
      tally.sentBytes += text.length;
      socket.write(text);
    },
    join(socket, roomId, crdt = "%LOR") {
      const auth = new TextEncoder().encode(token());
      target.send(socket, { type: MessageType.JoinRequest, crdt, roomId, auth, version: new Uint8Array([0]) });
    },
    pause: (ms) =>
      new Promise((resolve) => {
        const timer = setTimeout(resolve, ms);
        signal.addEventListener("abort", () => {
          clearTimeout(timer);
          resolve();
        });
      }),
  };
  return target;
}
