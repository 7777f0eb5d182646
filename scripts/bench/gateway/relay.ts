import { WebSocketServer } from "ws";
import { decodeFrame } from "../../../src/protocol/decode.js";
import { ackFrame, joinResponseFrame } from "../../../src/protocol/encode.js";
import { ackStatus } from "../../../src/protocol/protocol.js";

/**
 * The least that a server of the protocol can do: it lets everybody in, acknowledges every batch, and forwards the frame as it came to
 * whoever else is in the room. It keeps nothing, knows nothing and checks nothing, so it is the limit for one process.
 */
export async function startRelay(port: number): Promise<() => void> {
  const server = new WebSocketServer({ host: "127.0.0.1", port });
  const rooms = new Map<string, Set<import("ws").WebSocket>>();
  server.on("connection", (socket) => {
    const joined = new Set<Set<unknown>>();
    socket.on("message", (data: Buffer) => {
      const frame = decodeFrame(data);
      if (frame?.kind === "join") {
        const room = rooms.get(frame.roomKey) ?? new Set();
        rooms.set(frame.roomKey, room.add(socket));
        joined.add(room);
        socket.send(joinResponseFrame(frame.head, "write", new Uint8Array(1)));
      } else if (frame?.kind === "update") {
        socket.send(ackFrame(frame.head, frame.batchId, ackStatus.ok));
        for (const other of rooms.get(frame.roomKey) ?? []) if (other !== socket) other.send(data);
      }
    });
    socket.on("close", () => {
      for (const room of joined) room.delete(socket);
    });
  });
  await new Promise((listening) => server.once("listening", listening));
  return () => {
    for (const socket of server.clients) socket.terminate();
    server.close();
  };
}
