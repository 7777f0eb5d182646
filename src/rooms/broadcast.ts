import { createMachine, type Step } from "../lib/state-machine.js";
import { framesOf, type RoomReader } from "./room.js";

/** Who changed something: a reader, which need not be told of it, or several, or another node. */
export type Origin = RoomReader | "several";

/**
 * quiet    there is nothing to pass on
 * due      something changed: it is passed on when the time has come
 * behind   nothing changed, but readers were too slow for the last: they are tried again when the time has come
 * over     nobody is there any more
 */
export type State =
  | { readonly is: "quiet" }
  | { readonly is: "due"; readonly by: Origin }
  | { readonly is: "behind" }
  | { readonly is: "over" };

export type Event =
  | { readonly is: "changed"; readonly by: Origin }
  | { readonly is: "time" }
  | { readonly is: "passed on"; readonly behind: boolean }
  | { readonly is: "empty" };

export type Action =
  | "wait an interval"
  | "wait for the slow"
  | "stop waiting"
  | { readonly passOnFrom: Origin | undefined };

const quiet: State = { is: "quiet" };

/** What an event makes of a state, and what is done about it. In a state that waits, one timer runs; in the others none. */
export function step(state: State, event: Event): Step<State, Action> {
  if (state.is === "over") return { state, actions: [] };
  switch (event.is) {
    case "changed":
      if (state.is === "quiet") return { state: { is: "due", by: event.by }, actions: ["wait an interval"] };
      if (state.is === "behind") return { state: { is: "due", by: event.by }, actions: [] };
      return { state: state.by === event.by ? state : { is: "due", by: "several" }, actions: [] };
    case "time":
      return { state: quiet, actions: [{ passOnFrom: state.is === "due" ? state.by : undefined }] };
    case "passed on":
      if (!event.behind) return { state, actions: [] };
      return { state: { is: "behind" }, actions: ["wait for the slow"] };
    case "empty":
      return { state: { is: "over" }, actions: state.is === "quiet" ? [] : ["stop waiting"] };
  }
}

export interface Broadcast {
  /** What stands under these keys has changed. */
  changed(keys: Iterable<string>, by: Origin): void;
  /** A reader is gone: it is given nothing more. */
  left(reader: RoomReader): void;
  /** All readers are gone. */
  end(): void;
}

const retryMs = 250;

/**
 * Tells readers what has changed, of what only the latest counts: together, at most once an interval. A reader that is too slow misses
 * some, and is given everything when it can take it. In: who is there; the updates that bring about what stands under these keys, or all.
 */
export function createBroadcast(
  intervalMs: number,
  readers: { keys(): Iterable<RoomReader> },
  updatesOf: (keys?: ReadonlySet<string>) => readonly Uint8Array[],
): Broadcast {
  const behind = new Set<RoomReader>();
  let changed = new Set<string>();
  let passedOnAt = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;
  const order = createMachine<State, Event, Action>(quiet, step, perform);

  function perform(action: Action): Event | undefined {
    switch (action) {
      case "wait an interval":
        return wait(Math.max(0, passedOnAt + intervalMs - performance.now()));
      case "wait for the slow":
        return wait(retryMs);
      case "stop waiting":
        clearTimeout(timer);
        return undefined;
      default:
        return { is: "passed on", behind: passOn(action.passOnFrom) };
    }
  }

  function wait(ms: number): undefined {
    timer = setTimeout(() => order.tell({ is: "time" }), ms);
  }

  /** Out: whether somebody is behind. */
  function passOn(by: Origin | undefined): boolean {
    passedOnAt = performance.now();
    const keys = changed;
    changed = new Set();
    const updates = keys.size === 0 ? [] : updatesOf(keys);
    if (updates.length > 0) {
      const framesFor = framesOf(() => updates);
      for (const reader of readers.keys()) {
        if (reader !== by && !behind.has(reader) && !reader.offer(framesFor(reader))) behind.add(reader);
      }
    }
    if (behind.size === 0) return false;
    const everythingFor = framesOf(updatesOf);
    for (const reader of [...behind]) if (reader.offer(everythingFor(reader))) behind.delete(reader);
    return behind.size > 0;
  }

  return {
    changed(keys, by) {
      for (const key of keys) changed.add(key);
      order.tell({ is: "changed", by });
    },
    left: (reader) => void behind.delete(reader),
    end: () => order.tell({ is: "empty" }),
  };
}
