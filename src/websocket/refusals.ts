import type { Frame } from "../protocol/decode.js";
import { ackFrame, joinErrorFrame } from "../protocol/encode.js";
import { type AckStatus, joinErrorCode } from "../protocol/protocol.js";
import type { Outbox } from "./outbox.js";
import type { ConnectionServices } from "./services.js";

/** What is answered to frames that no room of a socket takes. */
export interface Refusals {
  join(frame: { readonly head: Buffer }, appCode: string, message: string): void;
  /** Of a room that has ended. */
  over(frame: { readonly head: Buffer }, reason: string): void;
  /** Answers each batch once. */
  frame(frame: Frame, status: AckStatus): void;
}

/** Batches in fragments that are remembered: they come as many frames. */
const remembered = 64;

export function createRefusals(outbox: Outbox, on: Pick<ConnectionServices, "acked" | "joined">): Refusals {
  let answered: Set<string> | undefined;

  function batch({ head, batchId }: { readonly head: Buffer; readonly batchId: Buffer }, status: AckStatus): void {
    on.acked(status, 0);
    outbox.send(ackFrame(head, batchId, status));
  }

  /** Whether this is the first that is seen of a batch, which is then remembered. */
  function isNew({ roomKey, batchId }: { readonly roomKey: string; readonly batchId: Buffer }): boolean {
    answered ??= new Set();
    const name = roomKey + batchId.toString("latin1");
    if (answered.has(name)) return false;
    if (answered.size >= remembered) answered.clear();
    answered.add(name);
    return true;
  }

  function join({ head }: { readonly head: Buffer }, appCode: string, message: string): void {
    on.joined("refused");
    outbox.send(joinErrorFrame(head, joinErrorCode.appError, message, { appCode }));
  }

  return {
    join,
    over({ head }, reason) {
      on.joined("refused");
      outbox.send(joinErrorFrame(head, joinErrorCode.authFailed, reason));
    },
    frame(frame, status) {
      if (frame.kind === "join") join(frame, "too_large", "the frame is too large");
      else if (frame.kind === "update") batch(frame, status);
      else if (frame.kind === "fragmentHeader" || frame.kind === "fragment") {
        if (isNew(frame) || frame.kind === "fragmentHeader") batch(frame, status);
      }
    },
  };
}
