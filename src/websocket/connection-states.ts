import type { Step } from "../lib/state-machine.js";
import { closeCode } from "../protocol/protocol.js";

/*
 * One socket. While it is "open" frames are handled; "draining", nothing more is taken, and what was taken is answered; "closing", the client
 * has been told to go. What it holds is given back once, when it is "closed". Whoever stays silent is pinged, and cut off if that is not
 * answered; whoever does not read what is queued is cut off too.
 */
export type State = Alive | { readonly is: "closed" };

interface Alive {
  readonly is: "open" | "draining" | "closing";
  /** Whether it has ever shown a valid token. */
  readonly who: "stranger" | "known";
  /** The client is read from only as fast as it is answered, and as it reads the answers. */
  readonly reading: "on" | "paused";
  readonly silence: "none" | "pinged";
}

export type Event =
  | { readonly is: "heard" | "identified" | "drain" | "gone" }
  /** Whether so much waits that nothing more should be read. */
  | { readonly is: "loaded"; readonly full: boolean }
  /** Time has passed: without a room and a valid token; without reading what is queued; without a sign of life. */
  | { readonly is: "tick"; readonly late: boolean; readonly stuck: boolean; readonly silent: boolean }
  | { readonly is: "told to go"; readonly code: number; readonly reason: string };

export type Action =
  | { readonly do: "close"; readonly code: number; readonly reason: string }
  | { readonly do: "no stranger" | "pause" | "resume" | "ping" | "terminate" | "leave rooms" | "let go" };

export const firstState: State = { is: "open", who: "stranger", reading: "on", silence: "none" };

const closed: State = { is: "closed" };

/** Each state exists once, for all sockets: there are tens of thousands of them. */
const shared = new Map<string, Alive>();

function stateOf(state: Alive): Alive {
  const name = Object.values(state).join();
  const known = shared.get(name) ?? state;
  shared.set(name, known);
  return known;
}

export const isPaused = (state: State) => state.is !== "closed" && state.reading === "paused";

/** What is told to go that shows no valid token in time. */
const late = { code: closeCode.tryAgainLater, reason: "no valid token in time" };

export function step(state: State, event: Event): Step<State, Action> {
  const same = { state, actions: [] };
  if (state.is === "closed") return same;
  const { who, reading, silence } = state;
  switch (event.is) {
    case "heard":
      return silence === "none" ? same : { state: stateOf({ ...state, silence: "none" }), actions: [] };
    case "identified":
      return who === "known" ? same : { state: stateOf({ ...state, who: "known" }), actions: [{ do: "no stranger" }] };
    case "loaded":
      if (event.full === (reading === "paused")) return same;
      if (event.full) return { state: stateOf({ ...state, reading: "paused" }), actions: [{ do: "pause" }] };
      return { state: stateOf({ ...state, reading: "on" }), actions: [{ do: "resume" }] };
    case "tick":
      if (event.late && state.is !== "closing") return toldToGo(state, late);
      if (event.stuck) return { state, actions: [{ do: "terminate" }] };
      if (!event.silent) return same;
      return {
        state: stateOf({ ...state, silence: "pinged" }),
        actions: [{ do: silence === "none" ? "ping" : "terminate" }],
      };
    case "drain":
      return state.is === "open"
        ? { state: stateOf({ ...state, is: "draining" }), actions: [{ do: "leave rooms" }] }
        : same;
    case "told to go":
      return state.is === "closing" ? same : toldToGo(state, event);
    case "gone": {
      const strange: Action[] = who === "stranger" ? [{ do: "no stranger" }] : [];
      return { state: closed, actions: [{ do: "leave rooms" }, ...strange, { do: "let go" }] };
    }
  }
}

function toldToGo(state: Alive, { code, reason }: { code: number; reason: string }): Step<State, Action> {
  return {
    state: stateOf({ ...state, is: "closing" }),
    actions: [{ do: "close", code, reason }, { do: "leave rooms" }],
  };
}
