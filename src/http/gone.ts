import type { ServerResponse } from "node:http";

/** Aborted when nobody waits for a response any more; at once where that is so already, which no event tells of again. */
export function goneSignal(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  if (response.destroyed) gone.abort();
  else response.once("close", () => gone.abort());
  return gone.signal;
}
