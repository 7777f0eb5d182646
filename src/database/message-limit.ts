import type { Duplex } from "node:stream";
import pg from "pg";
import { MessageTooLarge } from "./message-too-large.js";

/** 256 MiB: a document of the greatest size as hexadecimal text, and as much again. A text of JavaScript ends at 512 MiB. */
export const defaultMaxMessageBytes = 256 * 2 ** 20;
export const greatestMaxMessageBytes = 500 * 2 ** 20;

/** Of each message of the wire protocol: its type, and its length, which counts itself. */
const headerBytes = 5;
const lengthBytes = 4;

/**
 * Watches what a server sends, and says when a message begins that is longer than `limit`, as soon as its length is known: the driver keeps
 * a message until all of it is there, and makes strings of it, and of one over 512 MiB JavaScript makes none: it throws where nobody can
 * catch it.
 */
export function watchMessages(limit: number, tooLong: (bytes: number) => void): (chunk: Buffer) => void {
  /** What is left of the message that has begun; or, of the next one's header, what has come. */
  let left = 0;
  let header = 0;
  let length = 0;
  return (chunk) => {
    let at = 0;
    while (at < chunk.length) {
      if (left > 0) {
        const passed = Math.min(left, chunk.length - at);
        left -= passed;
        at += passed;
        continue;
      }
      if (header > 0) length = length * 256 + (chunk[at] ?? 0);
      header += 1;
      at += 1;
      if (header < headerBytes) continue;
      left = length - lengthBytes;
      if (length > limit) {
        tooLong(length);
        return;
      }
      header = 0;
      length = 0;
    }
  };
}

interface Attaching {
  stream: Duplex;
  attachListeners(stream: Duplex): void;
}

/**
 * The driver's client, whose connection ends with a MessageTooLarge at the header of a message over the limit. It listens before the driver
 * does, to the stream the driver reads from: with TLS that is another than the socket's, and is only made once the server has agreed.
 */
export function clientWithLimit(limit: number): typeof pg.Client {
  return class extends pg.Client {
    constructor(config?: string | pg.ClientConfig) {
      super(config);
      const connection = this.connection as unknown as Attaching;
      const attach = connection.attachListeners.bind(connection);
      connection.attachListeners = (stream) => {
        const watch = watchMessages(limit, (bytes) => {
          stream.off("data", watch);
          stream.destroy(new MessageTooLarge(bytes, limit));
        });
        stream.on("data", watch);
        attach(stream);
      };
    }
  };
}
