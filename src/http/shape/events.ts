import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { Account } from "../../lib/ledger.js";
import type { EventWriter } from "./serve.js";

/**
 * Begins an answer of Server-Sent Events. What the client does not read is held for it here, once: whoever does not read for so long is cut
 * off.
 */
export function openEventWriter(
  response: ServerResponse,
  headers: OutgoingHttpHeaders,
  account: Account,
  slowReaderMs: number,
): EventWriter {
  // Proxies that collect a response before they pass it on: not this one. When it ends so does its connection, also while the server stops.
  response.writeHead(200, { ...headers, "x-accel-buffering": "no", connection: "close" });
  response.flushHeaders();
  let drained: Promise<boolean> | undefined;

  function drain(bytes: number): Promise<boolean> {
    account.add(bytes);
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(late);
        response.off("drain", done).off("close", done);
        account.add(-bytes);
        drained = undefined;
        resolve(!response.destroyed);
      };
      const late = setTimeout(() => response.destroy(), slowReaderMs);
      response.on("drain", done).on("close", done);
    });
  }

  return {
    async write(text) {
      if (response.destroyed) return false;
      if (response.write(text)) return true;
      drained ??= drain(text.length);
      return drained;
    },
    end: () => void response.end(),
  };
}
