import { randomBytes } from "node:crypto";
import { WebSocketServer } from "ws";

/** A server of `ws` with nothing around it: what it is sent, it sends to everybody else. */
export async function startBroadcast(port: number): Promise<void> {
  const server = new WebSocketServer({ host: "127.0.0.1", port });
  server.on("connection", (socket) => {
    socket.on("message", (data, binary) => {
      for (const other of server.clients) if (other !== socket) other.send(data, { binary });
    });
  });
  await new Promise((listening) => server.once("listening", listening));
}

/** As much as fits a frame of the protocol. */
const pieceBytes = 240 * 1024;

/** Sends whoever connects to `/?bytes=N` so many bytes, in pieces as large as the protocol's. */
export async function startBytes(port: number): Promise<void> {
  const server = new WebSocketServer({ host: "127.0.0.1", port });
  let bytes = Buffer.alloc(0);
  server.on("connection", (socket, request) => {
    const wanted = Number(new URL(request.url ?? "/", "http://localhost").searchParams.get("bytes"));
    if (bytes.length !== wanted) bytes = randomBytes(wanted);
    for (let at = 0; at < wanted; at += pieceBytes) socket.send(bytes.subarray(at, at + pieceBytes));
  });
  await new Promise((listening) => server.once("listening", listening));
}
