import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { Account } from "../../lib/ledger.js";
import { hasGone } from "../gone.js";

/** Writes Server-Sent Events. What a client does not read is held for it here, once: whoever does not read for a while is cut off. */
export interface EventWriter {
  begin(response: ServerResponse, headers: OutgoingHttpHeaders): void;
  /** Resolves when the client can take more; false: it has gone, or does not read. In: whose the text is that waits for it. */
  write(response: ServerResponse, text: string, account: Account): Promise<boolean>;
}

/** In: how long a client may take to read something. */
export function createEventWriter(slowReaderMs: number): EventWriter {
  /** Those whose clients do not read just now. */
  const blocked = new Map<ServerResponse, Promise<boolean>>();

  function drained(response: ServerResponse, bytes: number, account: Account): Promise<boolean> {
    account.add(bytes);
    const { socket } = response.req;
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(late);
        response.off("drain", done);
        socket.off("close", done);
        account.add(-bytes);
        blocked.delete(response);
        resolve(!hasGone(response));
      };
      const late = setTimeout(() => {
        response.destroy();
        done();
      }, slowReaderMs);
      response.on("drain", done);
      socket.on("close", done);
    });
  }

  return {
    begin(response, headers) {
      // Proxies that collect a response before they pass it on: not this one. When it ends so does its connection, also while the server stops.
      response.writeHead(200, { ...headers, "x-accel-buffering": "no", connection: "close" });
      response.flushHeaders();
    },
    async write(response, text, account) {
      if (hasGone(response)) return false;
      if (response.write(text)) return true;
      const waiting = blocked.get(response) ?? drained(response, text.length, account);
      blocked.set(response, waiting);
      return waiting;
    },
  };
}
