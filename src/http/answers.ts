import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import { hasGone, whenGone } from "./gone.js";

export interface Answer {
  readonly status: number;
  readonly body: string | Buffer;
  readonly headers?: OutgoingHttpHeaders;
}

export interface Answers {
  /** Sends an answer to its end, a little at a time, as the client reads it. Never throws: a client that goes away needs none. */
  send(response: ServerResponse, answer: Answer): void;
  /** To be called often: cuts off who does not read. */
  tick(now: number): void;
}

/** What is written at once shows no progress until all of it has gone. */
const pieceBytes = 128 * 1024;

/** In: how long an answer may wait without going on. */
export function createAnswers(slowReaderMs: number): Answers {
  /** Answers on their way, and when each last went on. */
  const sending = new Map<ServerResponse, number>();

  async function sendPieces(response: ServerResponse, body: Buffer): Promise<void> {
    for (let at = 0; at < body.length && sending.has(response); at += pieceBytes) {
      if (response.write(body.subarray(at, at + pieceBytes))) continue;
      await new Promise<void>((resolve) => {
        const goOn = () => {
          response.off("drain", goOn).off("close", goOn);
          resolve();
        };
        response.on("drain", goOn).on("close", goOn);
      });
      if (sending.has(response)) sending.set(response, Date.now());
    }
    response.end();
  }

  return {
    send(response, { status, body, headers }) {
      if (hasGone(response)) return;
      sending.set(response, Date.now());
      whenGone(response, () => sending.delete(response));
      const bytes = body instanceof Buffer || body.length <= pieceBytes / 2 ? body : Buffer.from(body);
      response.writeHead(status, {
        ...(body.length > 0 && { "content-type": "application/json" }),
        ...(bytes instanceof Buffer && { "content-length": bytes.length }),
        ...headers,
      });
      if (bytes instanceof Buffer) void sendPieces(response, bytes);
      else response.end(bytes);
    },
    tick(now) {
      for (const [response, since] of sending) if (now - since > slowReaderMs) response.destroy();
    },
  };
}
