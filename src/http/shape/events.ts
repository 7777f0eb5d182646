import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { Account } from "../../lib/ledger.js";
import { hasGone, whenGone } from "../gone.js";
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
  let stopWaiting = () => {};
  whenGone(response, () => stopWaiting());

  function drain(bytes: number): Promise<boolean> {
    account.add(bytes);
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(late);
        response.off("drain", done);
        account.add(-bytes);
        drained = undefined;
        stopWaiting = () => {};
        resolve(!hasGone(response));
      };
      const late = setTimeout(() => {
        response.destroy();
        done();
      }, slowReaderMs);
      response.on("drain", done);
      stopWaiting = done;
    });
  }

  return {
    async write(text) {
      if (hasGone(response)) return false;
      if (response.write(text)) return true;
      drained ??= drain(text.length);
      return drained;
    },
    end: () => void response.end(),
  };
}
