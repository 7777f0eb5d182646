/** What travels between the engine and one of its threads. */

/** A thread module's functions, all synchronous: a thread does one thing at a time, in the order in which it was asked. */
export type Handlers<Api> = { [Method in keyof Api]: (...args: never[]) => unknown };

export interface CallMessage {
  call: number;
  method: string;
  args: readonly unknown[];
}

/**
 * Sent to a thread. Waking another thread costs more than most calls do, so calls that wait at the same time travel together, and so
 * do their answers. `progress` is sent once, first: shared memory in which the thread notes the call that it runs, 0 for none.
 */
export type Request = { progress: Int32Array } | { calls: readonly CallMessage[] };

/** An error as it crosses the thread's border: classes do not survive the structured clone. */
export interface CallFailure {
  name: string;
  message: string;
  code?: string;
  detail?: unknown;
}

/** `ms`: how long the call ran. */
export type CallAnswer = { call: number; ms: number } & (
  | { kind: "value"; value: unknown }
  | { kind: "failure"; failure: CallFailure }
  /** The last answer of this thread. */
  | { kind: "trapped"; failure: CallFailure }
);

/**
 * What a thread holds outside the JavaScript heap, in bytes (WASM memory never shrinks), and about how much of it is needed for what it
 * keeps; undefined where that is not known.
 */
export interface ThreadMemory {
  held: number;
  needed?: number | undefined;
}

/** `ready` is sent once, first. Answers come in the order of the calls. */
export type Reply =
  | { kind: "ready"; memory: ThreadMemory }
  | { kind: "answers"; answers: readonly CallAnswer[]; memory: ThreadMemory };

/** How long a thread may keep back answers, in order to send them together, before it begins the next call. */
export const keepBackMs = 1;
