import type { ServerResponse } from "node:http";

/**
 * Whether nobody waits for a response any more. One behind another on its connection has no socket yet, and Node tells it nothing when that goes:
 * its request knows.
 */
export const hasGone = (response: ServerResponse): boolean => response.destroyed || response.req.socket.destroyed;

/** Runs `work` when nobody waits for a response any more: at once where that is so already, which no event tells of again. */
export function whenGone(response: ServerResponse, work: () => void): void {
  if (hasGone(response)) return void work();
  const { socket } = response.req;
  const gone = () => {
    response.off("close", gone);
    socket.off("close", gone);
    work();
  };
  response.once("close", gone);
  // In its turn it has the socket, and is told.
  if (response.socket === null) socket.once("close", gone);
}

/** Aborted when nobody waits for a response any more. */
export function goneSignal(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  whenGone(response, () => gone.abort());
  return gone.signal;
}
