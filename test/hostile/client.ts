import { LoroDoc } from "loro-crdt";
import { encode, MessageType, type ProtocolMessage, tryDecode } from "loro-protocol";
import { WebSocket } from "ws";

/** A client of one room that sends what it is told, whatever that is, and notes every update it is given. */
export interface RoomClient {
  /** Joins, knowing nothing. Out: when it was answered, or the server closed the socket. */
  join(): Promise<void>;
  /** Sends one update. Out: the status it is acknowledged with; 255 when the server closed the socket over it. */
  send(update: Uint8Array): Promise<number>;
  /** What the server gave this client, in order. */
  readonly received: Uint8Array[];
  close(): void;
}

/** Bytes of an update that fit one frame; a longer one goes in fragments. */
const fragmentBytes = 200_000;

/** In: the server's WebSocket, a room, and the token, which in development mode is the user. */
export async function roomClient(url: string, roomId: string, token: string): Promise<RoomClient> {
  const received: Uint8Array[] = [];
  const partial = new Map<string, Uint8Array[]>();
  const acks = new Map<string, (status: number) => void>();
  let joined: (() => void) | undefined;
  let batches = 0;
  let socket = await open();

  async function open(): Promise<WebSocket> {
    const opening = new WebSocket(url);
    opening.on("message", (data: Buffer, isBinary) => {
      const message = isBinary ? tryDecode(new Uint8Array(data)) : undefined;
      if (message) take(message);
    });
    opening.on("error", () => undefined);
    opening.on("close", () => {
      for (const answer of acks.values()) answer(255);
      acks.clear();
      joined?.();
    });
    await new Promise<void>((resolve, reject) => {
      opening.once("open", resolve);
      opening.once("error", reject);
    });
    return opening;
  }

  function take(message: ProtocolMessage): void {
    if (message.type === MessageType.DocUpdate) received.push(...message.updates);
    else if (message.type === MessageType.DocUpdateFragmentHeader) partial.set(message.batchId, []);
    else if (message.type === MessageType.DocUpdateFragment) {
      const pieces = partial.get(message.batchId);
      if (pieces) pieces[message.index] = message.fragment;
    } else if (message.type === MessageType.Ack) {
      acks.get(message.refId)?.(message.status);
      acks.delete(message.refId);
    } else if (message.type === MessageType.JoinResponseOk || message.type === MessageType.JoinError) joined?.();
  }

  const common = { crdt: "%LOR", roomId } as const;
  const post = (message: ProtocolMessage) => socket.send(encode(message));

  async function join(): Promise<void> {
    if (socket.readyState !== WebSocket.OPEN) socket = await open();
    const answered = new Promise<void>((resolve) => {
      joined = resolve;
    });
    const auth = new TextEncoder().encode(token);
    post({ type: MessageType.JoinRequest, ...common, auth, version: new LoroDoc().oplogVersion().encode() });
    await answered;
  }

  async function send(update: Uint8Array): Promise<number> {
    if (socket.readyState !== WebSocket.OPEN) await join();
    batches += 1;
    const batchId = `0x${batches.toString(16).padStart(16, "0")}` as const;
    const status = new Promise<number>((resolve) => acks.set(batchId, resolve));
    if (update.length <= fragmentBytes) post({ type: MessageType.DocUpdate, ...common, updates: [update], batchId });
    else {
      const fragmentCount = Math.ceil(update.length / fragmentBytes);
      const header = { fragmentCount, totalSizeBytes: update.length };
      post({ type: MessageType.DocUpdateFragmentHeader, ...common, batchId, ...header });
      for (let index = 0; index < fragmentCount; index++) {
        const fragment = update.subarray(index * fragmentBytes, (index + 1) * fragmentBytes);
        post({ type: MessageType.DocUpdateFragment, ...common, batchId, index, fragment });
      }
    }
    return status;
  }

  return { join, send, received, close: () => socket.terminate() };
}
