import { CrdtType, MessageType, type ProtocolMessage, tryDecode, UpdateStatusCode } from "loro-protocol";
import { WebSocket } from "ws";
import { socketsOf } from "../support/sockets.js";

/**
 * What a client is told on its wire, read by somebody beside it: the client is the published one and finds this socket where it looks
 * for a WebSocket.
 */
export interface Watcher {
  /** The client sends document updates, under an id that the server's answer will name. */
  sent(roomId: string, batchId: string, updates: readonly Uint8Array[]): void;
  /** The server has answered a batch; `ok` means that it is stored. */
  answered(roomId: string, batchId: string, ok: boolean): void;
  /** The server has let the client in, and says by its version vector what is stored. */
  joined(roomId: string, version: Uint8Array): void;
  closed(code: number): void;
  /** Anything at all, in words, for whoever has to find out what went wrong. */
  noted(roomId: string, what: string): void;
}

/** Watches the client whose URL carries `?token=<token>`, in place of whoever did before; call it before the client is made. */
export function watch(token: string, watcher: Watcher): void {
  socketsOf(token, (url) => new WatchedWebSocket(url, watcher));
}

class WatchedWebSocket extends WebSocket {
  readonly #watcher: Watcher;
  /** Updates too long for a frame, on their way out in pieces. */
  readonly #pieces = new Map<string, { count: number; fragments: Uint8Array[] }>();

  constructor(url: string, watcher: Watcher) {
    super(url);
    this.#watcher = watcher;
    this.on("message", (data: Buffer | ArrayBuffer) => {
      const message = tryDecode(new Uint8Array(data));
      if (message?.crdt === CrdtType.Loro) received(watcher, message);
    });
    this.on("close", (code) => watcher.closed(code));
    // A client that is destroyed while it connects; ws would throw it.
    this.on("error", () => undefined);
  }

  override send(data: string | Uint8Array, ...rest: unknown[]): void {
    if (typeof data !== "string") this.#sent(tryDecode(data));
    (super.send as (...args: unknown[]) => void)(data, ...rest);
  }

  #sent(message: ProtocolMessage | undefined): void {
    if (message?.crdt !== CrdtType.Loro) return;
    const { roomId } = message;
    this.#watcher.noted(roomId, `→ ${nameOf(message)}`);
    if (message.type === MessageType.DocUpdate) {
      this.#watcher.sent(roomId, message.batchId, message.updates);
    } else if (message.type === MessageType.DocUpdateFragmentHeader) {
      this.#pieces.set(message.batchId, { count: message.fragmentCount, fragments: [] });
    } else if (message.type === MessageType.DocUpdateFragment) {
      const pieces = this.#pieces.get(message.batchId);
      if (pieces === undefined || pieces.fragments.push(message.fragment) < pieces.count) return;
      this.#pieces.delete(message.batchId);
      this.#watcher.sent(roomId, message.batchId, [Buffer.concat(pieces.fragments)]);
    }
  }
}

const names = new Map(Object.entries(MessageType).map(([name, type]) => [type as number, name]));

function nameOf(message: ProtocolMessage): string {
  const { status, code } = message as { status?: number; code?: number };
  return [names.get(message.type), status ?? code].filter((part) => part !== undefined).join(" ");
}

function received(watcher: Watcher, message: ProtocolMessage): void {
  if (message.type !== MessageType.DocUpdate) watcher.noted(message.roomId, `← ${nameOf(message)}`);
  if (message.type === MessageType.Ack) {
    watcher.answered(message.roomId, message.refId, message.status === UpdateStatusCode.Ok);
  } else if (message.type === MessageType.JoinResponseOk) {
    watcher.joined(message.roomId, message.version);
  }
}
