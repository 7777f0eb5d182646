import { CrdtType, MessageType, tryDecode, UpdateStatusCode } from "loro-protocol";
import { type MessageEvent, WebSocket } from "ws";
import { socketsOf } from "../support/sockets.js";

/**
 * The wire between one client and its server, watched from outside: the client is the published one, unchanged, and finds this
 * socket where it looks for a WebSocket. Document updates may be held back on their way in, as a slow network would.
 */
export interface Line {
  readonly bytes: { sent: number; received: number };
  /** Called for each document update that the client sends. */
  onSent?: (batchId: string, updates: readonly Uint8Array[]) => void;
  /** Called when the server has answered a batch of this client; `ok` means it is stored. */
  onAnswered?: (batchId: string, ok: boolean, status: number) => void;
  /** Called when the server lets the client into a room, with the version vector of what is stored. */
  onJoined?: (version: Uint8Array) => void;
  /** Called when document updates arrive, before the client sees them. */
  onArrived?: (updates: readonly Uint8Array[]) => void;
  /** Called when the client has been given updates. */
  onDelivered?: () => void;
  /** Asked before updates are given to the client; held ones keep their order. */
  mayPass?: (updates: readonly Uint8Array[]) => boolean;
  /** Called when a socket closes, with its code. */
  onClosed?: (code: number) => void;
  /** Gives the client what may pass now. */
  release(): void;
}

interface HeldFrame {
  updates: readonly Uint8Array[];
  deliver: () => void;
}

interface WatchedLine extends Line {
  held: HeldFrame[];
  /** Updates too long for a frame, on their way out in pieces. */
  pieces: Map<string, { count: number; fragments: Uint8Array[] }>;
}

/** Watches the clients whose URL carries `?token=<token>`; call it before the client is made. */
export function watchLine(token: string): Line {
  const line: WatchedLine = {
    bytes: { sent: 0, received: 0 },
    held: [],
    pieces: new Map(),
    release() {
      for (let first = line.held[0]; first !== undefined; first = line.held[0]) {
        if (line.mayPass !== undefined && !line.mayPass(first.updates)) return;
        line.held.shift();
        first.deliver();
      }
    },
  };
  socketsOf(token, (url) => new WatchedWebSocket(url, line));
  return line;
}

type MessageListener = (event: MessageEvent) => void;

class WatchedWebSocket extends WebSocket {
  readonly #line: WatchedLine;
  readonly #wrapped = new Map<unknown, MessageListener>();

  constructor(url: string, line: WatchedLine) {
    super(url);
    this.#line = line;
    // What an old socket still held back is lost with it, as on a network.
    line.held = [];
    line.pieces.clear();
    this.once("close", (code) => line.onClosed?.(code));
  }

  override send(data: string | Uint8Array, ...rest: unknown[]): void {
    if (typeof data !== "string") sent(this.#line, data);
    (super.send as (...args: unknown[]) => void)(data, ...rest);
  }

  override addEventListener(type: string, listener: unknown, options?: unknown): void {
    const line = this.#line;
    let effective = listener;
    if (type === "message") {
      const wrapped: MessageListener = (event) => received(line, event, listener as MessageListener);
      this.#wrapped.set(listener, wrapped);
      effective = wrapped;
    }
    (super.addEventListener as (...args: unknown[]) => void)(type, effective, options);
  }

  override removeEventListener(type: string, listener: unknown): void {
    (super.removeEventListener as (...args: unknown[]) => void)(type, this.#wrapped.get(listener) ?? listener);
  }
}

function sent(line: WatchedLine, data: Uint8Array): void {
  line.bytes.sent += data.byteLength;
  const message = tryDecode(data);
  if (message?.crdt !== CrdtType.Loro) return;
  if (message.type === MessageType.DocUpdate) {
    line.onSent?.(message.batchId, message.updates);
  } else if (message.type === MessageType.DocUpdateFragmentHeader) {
    line.pieces.set(message.batchId, { count: message.fragmentCount, fragments: [] });
  } else if (message.type === MessageType.DocUpdateFragment) {
    const pieces = line.pieces.get(message.batchId);
    if (pieces === undefined || pieces.fragments.push(message.fragment) < pieces.count) return;
    line.pieces.delete(message.batchId);
    line.onSent?.(message.batchId, [Buffer.concat(pieces.fragments)]);
  }
}

function received(line: WatchedLine, event: MessageEvent, listener: MessageListener): void {
  const pass = () => listener(event);
  if (!(event.data instanceof ArrayBuffer)) {
    pass();
    return;
  }
  line.bytes.received += event.data.byteLength;
  const message = tryDecode(new Uint8Array(event.data));
  if (message?.type === MessageType.Ack) {
    line.onAnswered?.(message.refId, message.status === UpdateStatusCode.Ok, message.status);
  }
  if (message?.type === MessageType.JoinResponseOk && message.crdt === CrdtType.Loro) line.onJoined?.(message.version);
  if (message?.type !== MessageType.DocUpdate || message.crdt !== CrdtType.Loro) {
    pass();
    return;
  }
  const deliver = () => {
    pass();
    line.onDelivered?.();
  };
  line.onArrived?.(message.updates);
  if (line.held.length > 0 || (line.mayPass !== undefined && !line.mayPass(message.updates))) {
    line.held.push({ updates: message.updates, deliver });
    return;
  }
  deliver();
}
