import { PerchError, toPerchError } from "../errors.js";
import type { CallFailure } from "./protocol.js";

export type LossReason = "trapped" | "timed out" | "died" | "outgrown" | "released" | "did not start";

/**
 * Whether a thread died of what it was doing for a call: it ended itself, or filled its heap. An error that nobody caught was
 * thrown outside of any call, since a call's errors are its answer.
 */
export function isOfACall(cause: unknown): boolean {
  return cause === undefined || (cause as { code?: unknown } | null)?.code === "ERR_WORKER_OUT_OF_MEMORY";
}

/** What the call at fault is told. */
export function attributeFault(
  call: { method: string; timeoutMs: number },
  reason: LossReason,
  cause: unknown,
): PerchError {
  const message =
    reason === "timed out"
      ? `${call.method} took longer than ${call.timeoutMs} ms`
      : `${call.method} trapped: ${messageOf(cause)}`;
  return new PerchError("PE422", message, {
    reason: reason === "timed out" ? "timed out" : "trapped",
    method: call.method,
  });
}

export function messageOf(error: unknown): string {
  if (typeof error === "object" && error !== null && "message" in error) return String(error.message);
  return error === undefined ? "the thread ended" : String(error);
}

/** The error of a call, as it was in the thread. */
export function revive(failure: CallFailure): Error {
  return (
    toPerchError(failure) ??
    Object.assign(
      new Error(failure.message),
      { name: failure.name },
      failure.code === undefined ? {} : { code: failure.code },
    )
  );
}
