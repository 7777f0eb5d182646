import type { Duplex } from "node:stream";
import { WebSocket } from "ws";

export interface Outbox {
  /** Queues a frame; dropped when the socket is closing. */
  send(frame: Uint8Array | string): void;
  /** Sends many frames one after the other, never holding more than a little of them in the queue. */
  sendPaced(frames: Iterable<Uint8Array>): Promise<void>;
  /** Whether so much is waiting for the client that nothing more should be queued. */
  isFull(): boolean;
  /** Since when nothing has moved although something should: the queue is full, or a paced transfer waits; undefined when all is well. */
  stuckSince(): number | undefined;
  /** Bytes that wait for the client. */
  queued(): number;
  /** Calls back once, when the queue has drained to a quarter of its limit; not at all when the socket closes first. */
  onDrained(callback: () => void): void;
  close(): void;
}

/** How much of a paced transfer may be in the queue; what is written at once shows no progress until all of it has gone. */
const pacedBytes = 512 * 1024;
const drainPollMs = 20;

/**
 * What goes out of one socket. All frames sent in one turn of the event loop leave in one write; and the queue of a slow reader
 * is bounded, by telling senders when it is full.
 * In: the WebSocket, the TCP stream beneath it, and how many bytes may wait.
 */
export function createOutbox(socket: WebSocket, stream: Duplex, maxQueuedBytes: number): Outbox {
  let corked = false;
  let closed = false;
  let fullSince: number | undefined;
  /** How many paced transfers wait, and since when none of them has gone on. */
  let pacedWaiting = 0;
  let pacedSince = 0;
  let drained: (() => void)[] = [];
  let poll: NodeJS.Timeout | undefined;

  const uncork = () => {
    corked = false;
    stream.uncork();
  };

  function send(frame: Uint8Array | string, written?: () => void): void {
    if (socket.readyState !== WebSocket.OPEN) {
      written?.();
      return;
    }
    if (!corked) {
      corked = true;
      stream.cork();
      process.nextTick(uncork);
    }
    if (written === undefined) socket.send(frame);
    else socket.send(frame, written);
  }

  function watch(): void {
    poll ??= setInterval(() => {
      if (socket.bufferedAmount > maxQueuedBytes) return;
      fullSince = undefined;
      if (socket.bufferedAmount > maxQueuedBytes / 4) return;
      clearInterval(poll);
      poll = undefined;
      const callbacks = drained;
      drained = [];
      for (const callback of callbacks) callback();
    }, drainPollMs);
  }

  function isFull(): boolean {
    if (closed || socket.bufferedAmount <= maxQueuedBytes) return false;
    fullSince ??= Date.now();
    watch();
    return true;
  }

  return {
    send: (frame) => send(frame),
    async sendPaced(frames) {
      for (const frame of frames) {
        if (socket.readyState !== WebSocket.OPEN) return;
        if (socket.bufferedAmount <= pacedBytes) send(frame);
        else {
          if (pacedWaiting === 0) pacedSince = Date.now();
          pacedWaiting += 1;
          await new Promise<void>((resolve) => send(frame, () => resolve()));
          pacedWaiting -= 1;
          pacedSince = Date.now();
        }
      }
    },
    isFull,
    stuckSince() {
      if (pacedWaiting > 0) return pacedSince;
      return isFull() ? fullSince : undefined;
    },
    queued: () => socket.bufferedAmount,
    onDrained(callback) {
      if (closed) return;
      drained.push(callback);
      watch();
    },
    close() {
      closed = true;
      clearInterval(poll);
      poll = undefined;
      drained = [];
    },
  };
}
