import type { Step } from "../lib/state-machine.js";
import type { LogPosition } from "./log-kind.js";

/*
 * A room that is a log (log-room.ts): all there is of it is the position up to which readers were given what came. Whatever moves it is done one
 * after the other, which "busy" sees to: an append, or a read of what came behind the position. Positions are given out under a lock that is
 * held until commit, so what is read behind a position is complete, and the
 * database says whether it goes on from there: where it went back to an earlier state it does not, and the room is "over"; everybody joins
 * again, and sends what was lost. A reader is there from before its backfill is read, and the hand-over of
 * its membership drops what that has; so it misses nothing that is delivered. Nothing that came before the first position is: until there is one,
 * backfills are read one after the other, so that none leads less far.
 *
 * Nothing waits for ever: whatever is under way ends by an event, and each event looks at the rows again. What is beyond the position is read
 * ('catch up'), at once or, where reading failed, after a rest. An append whose outcome is not known leaves the room in doubt, so that
 * what it may have committed is read. A room without readers and submissions is 'left', and another takes its place.
 */

export type State =
  /** Nobody's backfill has been read yet. */
  | { readonly is: "unread"; readonly heard: number }
  | Open
  /** Its document was deleted, or went back, or nobody is in it any more. */
  | { readonly is: "over" };

interface Open {
  readonly is: "open";
  readonly position: LogPosition;
  readonly incarnation: number;
  /** How far the log is known to be, or taken to be until it is read. */
  readonly heard: number;
  readonly work: Work;
  /** Reading failed a moment ago. */
  readonly rests: boolean;
}

export type Work =
  | { readonly is: "none" }
  | { readonly is: "append" }
  /** `heard`: what was known when it began. */
  | { readonly is: "catch up"; readonly heard: number };

export const firstState: State = { is: "unread", heard: 0 };
const none: Work = { is: "none" };

export type Event =
  | { readonly is: "submitted" | "left" | "rested" }
  /** A notification says how far the log is. */
  | { readonly is: "heard"; readonly seq: number }
  /** A poll says where the log is: behind, or ahead of a database that went back, are both found out by reading. */
  | { readonly is: "polled"; readonly position: LogPosition }
  /** Something may be beyond the position. */
  | { readonly is: "in doubt" }
  /** The backfill of a reader was read. */
  | { readonly is: "joined"; readonly position: LogPosition; readonly incarnation: number }
  /** Readers were given everything up to here. */
  | { readonly is: "delivered"; readonly position: LogPosition }
  | { readonly is: "read failed" }
  /** What was under way is over. */
  | { readonly is: "done"; readonly well: boolean }
  /** What readers have is not what the database has. */
  | { readonly is: "ended" };

export type Action = "append" | "catch up" | "rest" | "end";

export interface Waiting {
  readonly submitted: boolean;
  readonly readers: number;
}

export type Row = "over" | "busy" | "append" | "left" | "catch up" | "rest";

/** What becomes of the room. */
export function rowOf(state: State, { submitted, readers }: Waiting): Row {
  if (state.is === "over") return "over";
  if (state.is === "open" && state.work.is !== "none") return "busy";
  if (state.is === "open" && submitted) return "append";
  if (readers === 0) return "left";
  return state.is === "open" && state.heard > state.position.seq && !state.rests ? "catch up" : "rest";
}

/** What an event makes of a state, and what begins then. In: what waits, as the event left it. */
export function step(before: State, event: Event, waiting: Waiting): Step<State, Action> {
  const state = after(before, event);
  const ended: Action[] = state.is === "over" && before.is !== "over" ? ["end"] : [];
  const resting: Action[] = state.is === "open" && state.rests && event.is === "read failed" ? ["rest"] : [];
  const row = rowOf(state, waiting);
  if (row === "left") return { state: { is: "over" }, actions: ["end"] };
  if (state.is === "open" && row === "append") {
    return { state: { ...state, work: { is: "append" } }, actions: [...resting, "append"] };
  }
  if (state.is === "open" && row === "catch up") {
    return { state: { ...state, work: { is: "catch up", heard: state.heard } }, actions: ["catch up"] };
  }
  return { state, actions: [...ended, ...resting] };
}

function after(state: State, event: Event): State {
  if (state.is === "over") return state;
  const heard = (seq: number): State => (seq > state.heard ? { ...state, heard: seq } : state);
  switch (event.is) {
    case "submitted":
    case "left":
      return state;
    case "heard":
      return heard(event.seq);
    case "ended":
      return { is: "over" };
    case "joined":
      if (state.is === "open") return found(state, event.position);
      return {
        is: "open",
        position: event.position,
        incarnation: event.incarnation,
        heard: Math.max(state.heard, event.position.seq),
        work: none,
        rests: false,
      };
  }
  if (state.is === "unread") return state;
  switch (event.is) {
    case "polled":
      return found(state, event.position);
    case "in doubt":
      return heard(state.position.seq + 1);
    case "read failed":
      return { ...state, heard: Math.max(state.heard, state.position.seq + 1), rests: true };
    case "rested":
      return { ...state, rests: false };
    case "delivered":
      return { ...state, position: event.position, heard: Math.max(state.heard, event.position.seq) };
    case "done": {
      const { work } = state;
      // What was in doubt has been read: a failed append had not been committed.
      const isSettled = event.well && work.is === "catch up" && work.heard === state.heard;
      return { ...state, work: none, heard: isSettled ? state.position.seq : state.heard };
    }
  }
}

/** The log was seen at a position. */
function found(state: Open, { seq, revision }: LogPosition): State {
  if (seq === state.position.seq && revision === state.position.revision) return state;
  return { ...state, heard: Math.max(state.heard, seq, state.position.seq + 1) };
}
