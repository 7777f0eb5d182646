import type { ServerResponse } from "node:http";

/** Runs `work` when nobody waits for a response any more: at once where that is so already, which no event tells of again. */
export function whenGone(response: ServerResponse, work: () => void): void {
  if (response.destroyed) work();
  else response.once("close", work);
}

/** Aborted when nobody waits for a response any more. */
export function goneSignal(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  whenGone(response, () => gone.abort());
  return gone.signal;
}
