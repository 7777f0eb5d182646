import { randomBytes } from "node:crypto";
import { CrdtType, encode, MessageType, type ProtocolMessage, tryDecode } from "loro-protocol";
import { WebSocket } from "ws";

/** A client that only moves frames: no document behind it, so what is measured is the server. */
export interface RawRoom {
  readonly socket: WebSocket;
  /** Sends an update, in fragments when it is large. Out: when it was acknowledged. Errors: when it was refused. */
  send(update: Uint8Array): Promise<void>;
  close(): void;
}

const crdt = CrdtType.Loro;
const fragmentBytes = 240 * 1024;

/**
 * Joins a room as somebody who knows nothing of it; resolves with the answer. `received` is told of the updates that come, of each as
 * soon as it is complete.
 */
export async function openRawRoom(
  url: string,
  roomId: string,
  received: (bytes: number) => void = () => undefined,
): Promise<RawRoom> {
  const socket = new WebSocket(url, { perMessageDeflate: false });
  const waiting = new Map<string, { resolve(): void; reject(error: Error): void }>();
  let joined: () => void = () => undefined;
  let refused: (error: Error) => void = () => undefined;
  /** Fragments that are still to come; nothing else comes between them here, so they need not be decoded. */
  let missing = 0;
  let announced = 0;

  function handle(message: ProtocolMessage): void {
    switch (message.type) {
      case MessageType.JoinResponseOk:
        joined();
        break;
      case MessageType.JoinError:
        refused(new Error(message.message));
        break;
      case MessageType.Ack: {
        const batch = waiting.get(message.refId);
        waiting.delete(message.refId);
        if (message.status === 0) batch?.resolve();
        else batch?.reject(new Error(`the batch was refused with ${message.status}`));
        break;
      }
      case MessageType.DocUpdate:
        received(message.updates.reduce((sum, update) => sum + update.byteLength, 0));
        break;
      case MessageType.DocUpdateFragmentHeader:
        announced = message.totalSizeBytes;
        missing = message.fragmentCount;
    }
  }

  socket.on("message", (data: Buffer, isBinary) => {
    if (missing > 0) {
      missing--;
      if (missing === 0) received(announced);
      return;
    }
    const message = isBinary ? tryDecode(data) : undefined;
    if (message) handle(message);
  });
  await new Promise<void>((resolve, reject) => {
    socket.once("open", () =>
      socket.send(
        encode({ type: MessageType.JoinRequest, crdt, roomId, auth: new Uint8Array(), version: new Uint8Array() }),
      ),
    );
    joined = resolve;
    refused = reject;
    socket.once("error", reject);
    socket.once("close", (code) => reject(new Error(`closed with ${code}`)));
  });

  return {
    socket,
    send: (update) =>
      new Promise((resolve, reject) => {
        const batchId: `0x${string}` = `0x${randomBytes(8).toString("hex")}`;
        waiting.set(batchId, { resolve, reject });
        for (const frame of framesOf(roomId, batchId, update)) socket.send(frame);
      }),
    close: () => socket.terminate(),
  };
}

function framesOf(roomId: string, batchId: `0x${string}`, update: Uint8Array): Uint8Array[] {
  if (update.byteLength <= fragmentBytes) {
    return [encode({ type: MessageType.DocUpdate, crdt, roomId, updates: [update], batchId })];
  }
  const fragmentCount = Math.ceil(update.byteLength / fragmentBytes);
  const totalSizeBytes = update.byteLength;
  return [
    encode({ type: MessageType.DocUpdateFragmentHeader, crdt, roomId, batchId, fragmentCount, totalSizeBytes }),
    ...Array.from({ length: fragmentCount }, (_, index) =>
      encode({
        type: MessageType.DocUpdateFragment,
        crdt,
        roomId,
        batchId,
        index,
        fragment: update.subarray(index * fragmentBytes, (index + 1) * fragmentBytes),
      }),
    ),
  ];
}
