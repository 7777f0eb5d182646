import type { Step } from "../lib/state-machine.js";
import { type AckStatus, type RoomErrorCode, roomErrorCode } from "../protocol/protocol.js";
import type { Admitted } from "../rooms/access.js";
import type { Channel, JoinRefused } from "../rooms/room.js";

/** Why a client is no longer in a room. */
export interface Dismissal {
  readonly code: RoomErrorCode;
  readonly reason: string;
}

/*
 * One room on one socket. A client is told of the end once, and nothing is said to it before the answer to its join: a dismissal waits for that.
 * What an open room holds is let go of once, by whatever ends it; a room that opens too late is closed again.
 */
export type State =
  /** Frames of the client wait for the answer to its join. */
  | { readonly is: "joining"; readonly dismissal?: Dismissal }
  | { readonly is: "joined"; readonly admission: Admitted; readonly channel: Channel }
  /** About to be asked to join again, because of a batch that was refused with this status: what builds on it is refused likewise. */
  | { readonly is: "rejoining"; readonly admission: Admitted; readonly channel: Channel; readonly status: AckStatus }
  | { readonly is: "closed" };

export type Event =
  | { readonly is: "opened"; readonly admission: Admitted; readonly channel: Channel }
  | { readonly is: "refused"; readonly refusal: JoinRefused }
  | { readonly is: "dismissed"; readonly dismissal: Dismissal }
  /** A batch was not accepted, with this status; after so long the client is to be asked to join again. */
  | { readonly is: "unaccepted"; readonly status: AckStatus; readonly waitMs: number }
  | { readonly is: "left" | "closed" };

export type Action =
  | { readonly do: "answer"; readonly channel: Channel }
  | { readonly do: "refuse"; readonly refusal: JoinRefused }
  | { readonly do: "dismiss"; readonly dismissal: Dismissal }
  | { readonly do: "dismiss later"; readonly dismissal: Dismissal; readonly waitMs: number }
  /** Gives back what the room holds. */
  | { readonly do: "let go"; readonly channel?: Channel }
  | { readonly do: "close"; readonly channel: Channel }
  /** The socket is told that the room is free again; the frames that waited are handled, or dropped. */
  | { readonly do: "forget" | "replay" | "drop frames" };

export const firstState: State = { is: "joining" };

export const channelOf = (state: State): Channel | undefined => ("channel" in state ? state.channel : undefined);

const closed: State = { is: "closed" };
const rejoin = { code: roomErrorCode.rejoinSuggested, reason: "an update was not accepted: join again" };
const replay: Action = { do: "replay" };

export function step(state: State, event: Event): Step<State, Action> {
  const same = { state, actions: [] };
  switch (state.is) {
    case "closed":
      return event.is === "opened" ? { state, actions: [{ do: "close", channel: event.channel }] } : same;
    case "joining":
      switch (event.is) {
        case "opened":
          return opened(state, event);
        case "refused":
          return { state: closed, actions: [{ do: "refuse", refusal: event.refusal }, ...ending(), replay] };
        case "dismissed":
          return { state: { is: "joining", dismissal: event.dismissal }, actions: [] };
        case "closed":
          return { state: closed, actions: [{ do: "let go" }, { do: "drop frames" }] };
        default:
          return same;
      }
    default:
      switch (event.is) {
        case "dismissed":
          return { state: closed, actions: [{ do: "dismiss", dismissal: event.dismissal }, ...ending(state.channel)] };
        case "unaccepted": {
          const { status, waitMs } = event;
          if (state.is === "rejoining") return same;
          if (waitMs === 0)
            return { state: closed, actions: [{ do: "dismiss", dismissal: rejoin }, ...ending(state.channel)] };
          return {
            state: { ...state, is: "rejoining", status },
            actions: [{ do: "dismiss later", dismissal: rejoin, waitMs }],
          };
        }
        case "left":
          return { state: closed, actions: ending(state.channel) };
        case "closed":
          return { state: closed, actions: [{ do: "let go", channel: state.channel }] };
        default:
          return same;
      }
  }
}

function opened(
  { dismissal }: Extract<State, { is: "joining" }>,
  { admission, channel }: Extract<Event, { is: "opened" }>,
): Step<State, Action> {
  const answer: Action = { do: "answer", channel };
  if (!dismissal) return { state: { is: "joined", admission, channel }, actions: [answer, replay] };
  return { state: closed, actions: [answer, { do: "dismiss", dismissal }, ...ending(channel), replay] };
}

const ending = (channel?: Channel): Action[] => [{ do: "let go", ...(channel && { channel }) }, { do: "forget" }];
