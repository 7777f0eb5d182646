/** What travels between the engine and one of its threads. */

/** A thread module's functions, all synchronous: a thread does one thing at a time, in the order in which it was asked. */
export type Handlers<Api> = { [Method in keyof Api]: (...args: never[]) => unknown };

export interface CallMessage {
  call: number;
  method: string;
  args: readonly unknown[];
}

/** An error as it crosses the thread's border: classes do not survive the structured clone. */
export interface Failure {
  name: string;
  message: string;
  code?: string;
  detail?: unknown;
}

/** `memory`: bytes the thread holds outside the JavaScript heap (WASM memory never shrinks). `ready` is sent once, first. */
export type Reply =
  | { kind: "ready"; memory: number }
  | { kind: "value"; call: number; value: unknown; memory: number }
  | { kind: "failure"; call: number; failure: Failure; memory: number }
  | { kind: "trapped"; call: number; failure: Failure };
