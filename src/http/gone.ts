import type { ServerResponse } from "node:http";

/**
 * Whether nobody waits for a response any more. One behind another on its connection has no socket yet, and Node tells it nothing when that goes:
 * its request knows.
 */
export const hasGone = (response: ServerResponse): boolean => response.destroyed || response.req.socket.destroyed;

/** Runs `work` when nobody waits for a response any more: at once where that is so already, which no event tells of again. */
export function whenGone(response: ServerResponse, work: () => void): void {
  if (hasGone(response)) return void work();
  // It is told once, and has its socket for as long as it lasts.
  if (response.socket !== null) return void response.on("close", work);
  const { socket } = response.req;
  const gone = () => {
    response.off("close", gone);
    socket.off("close", gone);
    work();
  };
  response.on("close", gone);
  // In its turn it has the socket, and is told.
  socket.on("close", gone);
}
