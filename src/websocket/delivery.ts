import type { Outbox } from "./outbox.js";

/** What is sent to one room of one socket, in its order. */
export interface Delivery {
  /** Sends the answer to the join and the backfill; what is delivered meanwhile, or was before, follows them. */
  begin(frames: Iterable<Buffer>): Promise<void>;
  /** Sends what must not be lost; once that would queue too much for the reader, nothing more is sent at all. */
  deliver(frames: readonly Buffer[]): void;
  /** Sends what may be skipped. Out: whether it was sent. */
  offer(frames: readonly Buffer[]): boolean;
  close(): void;
}

export interface DeliveryEvents {
  /** The reader is too slow: it will get nothing more. */
  overflow(): void;
  /** It has read what was queued for it, so it can be told. */
  caughtUp(): void;
  /** So many bytes are kept until the backfill is on its way (negative: are not any more). */
  hold(bytes: number): void;
}

export function createDelivery(outbox: Outbox, maxQueuedBytes: number, on: DeliveryEvents): Delivery {
  /** What waits until the backfill is on its way; undefined when nothing has to. */
  let held: Buffer[] | undefined = [];
  let heldBytes = 0;
  let muted = false;
  let closed = false;

  function mute(): void {
    muted = true;
    if (held === undefined) outbox.onDrained(on.caughtUp);
    else letGo([]);
    on.overflow();
  }

  function letGo(next: Buffer[] | undefined): void {
    held = next;
    if (heldBytes > 0) on.hold(-heldBytes);
    heldBytes = 0;
  }

  return {
    async begin(frames) {
      await outbox.sendPaced(frames);
      if (closed) return;
      for (const frame of held ?? []) outbox.send(frame);
      letGo(undefined);
      if (muted) outbox.onDrained(on.caughtUp);
    },
    deliver(frames) {
      if (muted || closed) return;
      if (held === undefined) {
        if (outbox.isFull()) mute();
        else for (const frame of frames) outbox.send(frame);
        return;
      }
      for (const frame of frames) {
        held.push(frame);
        heldBytes += frame.length;
        on.hold(frame.length);
      }
      if (heldBytes > maxQueuedBytes) mute();
    },
    offer(frames) {
      if (closed || held !== undefined || outbox.isFull()) return false;
      for (const frame of frames) outbox.send(frame);
      return true;
    },
    close() {
      closed = true;
      letGo(undefined);
    },
  };
}
