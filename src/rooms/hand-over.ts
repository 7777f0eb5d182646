import { createMachine, type Step } from "../lib/state-machine.js";

/** Where frames go. */
export interface Outlet {
  send(frame: Buffer): void;
  /** Sends many frames one after the other, never holding more than a little of them in the queue. */
  sendPaced(frames: Iterable<Buffer>): Promise<void>;
  /** Whether so much is waiting for the client that nothing more should be queued. */
  isFull(): boolean;
  /** Calls back once, when the queue has drained; not at all when the socket closes first. */
  onDrained(callback: () => void): void;
}

/** What is sent to one room of one socket, in its order: the backfill, and behind it what is delivered meanwhile and from then on. */
export interface HandOver {
  /** Sends the answer to the join and the backfill, which leads to `position`. What was delivered before, and is not in it, follows. */
  begin(frames: Iterable<Buffer>, position: number): Promise<void>;
  /** Sends what must not be lost; once that would queue too much for the reader, nothing more is sent at all. */
  deliver(frames: readonly Buffer[], seq: number): void;
  /** Sends what may be skipped. Out: whether it was sent. */
  offer(frames: readonly Buffer[]): boolean;
  close(): void;
}

export interface HandOverEvents {
  /** The reader is too slow: it will get nothing more. */
  overflow(): void;
  /** It has read what was queued for it, so it can be told. */
  caughtUp(): void;
  /** So many bytes are kept until the backfill is on its way (negative: are not any more). */
  hold(bytes: number): void;
}

/**
 * holding   the backfill is not on its way yet: what is delivered is kept
 * gave up   the same, but too much was delivered: nothing is kept
 * live      what is delivered is sent
 * draining  the reader was too slow, and is told so once it has read what is queued
 */
export type State = "holding" | "gave up" | "live" | "draining" | "closed";

export type Event = "backfill sent" | "too much" | "closed";

export type Action = "overflow" | "send held" | "drop held" | "wait until drained";

const same = (state: State): Step<State, Action> => ({ state, actions: [] });

/** What an event makes of a state, and what is done about it. */
export const transitions: Readonly<Record<State, Readonly<Record<Event, Step<State, Action>>>>> = {
  holding: {
    "backfill sent": { state: "live", actions: ["send held"] },
    "too much": { state: "gave up", actions: ["drop held", "overflow"] },
    closed: { state: "closed", actions: ["drop held"] },
  },
  "gave up": {
    "backfill sent": { state: "draining", actions: ["wait until drained"] },
    "too much": same("gave up"),
    closed: same("closed"),
  },
  live: {
    "backfill sent": same("live"),
    "too much": { state: "draining", actions: ["wait until drained", "overflow"] },
    closed: same("closed"),
  },
  draining: { "backfill sent": same("draining"), "too much": same("draining"), closed: same("closed") },
  closed: { "backfill sent": same("closed"), "too much": same("closed"), closed: same("closed") },
};

export function createHandOver(outlet: Outlet, maxHeldBytes: number, on: HandOverEvents): HandOver {
  let held: { readonly frames: readonly Buffer[]; readonly seq: number }[] = [];
  let heldBytes = 0;
  let backfilledTo = 0;
  const order = createMachine<State, Event, Action>("holding", (state, event) => transitions[state][event], perform);

  function perform(action: Action): undefined {
    switch (action) {
      case "send held":
        for (const { frames, seq } of held) if (isNew(seq)) for (const frame of frames) outlet.send(frame);
        dropHeld();
        break;
      case "drop held":
        dropHeld();
        break;
      case "overflow":
        on.overflow();
        break;
      case "wait until drained":
        outlet.onDrained(on.caughtUp);
    }
  }

  const isNew = (seq: number) => seq > backfilledTo;

  function dropHeld(): void {
    if (heldBytes > 0) on.hold(-heldBytes);
    heldBytes = 0;
    held = [];
  }

  return {
    async begin(frames, position) {
      backfilledTo = position;
      await outlet.sendPaced(frames);
      order.tell("backfill sent");
    },
    deliver(frames, seq) {
      if (order.state === "holding") {
        const bytes = frames.reduce((sum, { length }) => sum + length, 0);
        held.push({ frames, seq });
        heldBytes += bytes;
        on.hold(bytes);
        if (heldBytes > maxHeldBytes) order.tell("too much");
      } else if (order.state === "live" && isNew(seq)) {
        if (outlet.isFull()) order.tell("too much");
        else for (const frame of frames) outlet.send(frame);
      }
    },
    offer(frames) {
      if (order.state !== "live" && order.state !== "draining") return false;
      if (outlet.isFull()) return false;
      for (const frame of frames) outlet.send(frame);
      return true;
    },
    close: () => order.tell("closed"),
  };
}
