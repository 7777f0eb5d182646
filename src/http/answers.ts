import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import { hasGone, whenGone } from "./gone.js";

export interface Answer {
  readonly status: number;
  readonly body: string | Buffer;
  readonly headers?: OutgoingHttpHeaders;
}

export interface Answers {
  /**
   * Sends an answer to its end, a little at a time, as the client reads it, and takes what is left of the request. Never throws: a client that
   * goes away needs none.
   */
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
    end(response);
  }

  return {
    send(response, { status, body, headers }) {
      if (hasGone(response)) return;
      sending.set(response, Date.now());
      whenGone(response, () => sending.delete(response));
      const short = typeof body === "string" && body.length <= pieceBytes / 2 && response.req.complete;
      const bytes = short ? body : Buffer.from(body);
      response.writeHead(status, {
        ...(body.length > 0 && { "content-type": "application/json" }),
        ...(bytes instanceof Buffer && bytes.length > 0 && { "content-length": bytes.length }),
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

/**
 * Ends a response when its request has come to an end, too (a lingering close). A socket that is closed with something unread sends a reset, which
 * takes the answer from a client that is still writing: it would see a broken network, and try again what was refused. What comes is let go of;
 * who takes too long is cut off by `tick`.
 */
function end(response: ServerResponse): void {
  const { req } = response;
  if (req.complete || req.destroyed) return void response.end();
  req.once("end", () => response.end());
  req.once("error", () => response.destroy());
  req.resume();
}
