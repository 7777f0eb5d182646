import { parentPort } from "node:worker_threads";
import type { CallMessage, Failure, Handlers, Reply } from "./protocol.js";

const transferLists = new WeakMap<object, ArrayBuffer[]>();

/** Marks buffers of a handler's result to be moved to the caller instead of copied. They must not be used here afterwards. */
export function transferring<Result extends object>(result: Result, views: readonly Uint8Array[]): Result {
  const buffers = new Set<ArrayBuffer>();
  for (const { buffer, byteLength } of views) {
    // A view of a larger buffer would drag the whole of it along, so it is copied.
    if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffers.add(buffer);
  }
  transferLists.set(result, [...buffers]);
  return result;
}

export interface ServeOptions {
  /** Bytes held outside the JavaScript heap, asked after every call; must be cheap. */
  memory?(): number;
  /** Whether an error means that the thread cannot be trusted any more. WASM traps and stack overflows always do. */
  isTrap?(error: unknown): boolean;
}

/**
 * Runs in a thread module: answers the engine's calls with `handlers`, one after another. After a trap it answers nothing more:
 * the memory of a WASM module that has trapped may be in any state, so the engine replaces the thread.
 */
export function serve<Api extends Handlers<Api>>(handlers: Api, options: ServeOptions = {}): void {
  const port = parentPort;
  if (port === null) throw new Error("a thread module runs in a worker thread only");
  const memory = options.memory ?? (() => 0);
  const methods = new Map(Object.entries(handlers) as [string, (...args: unknown[]) => unknown][]);
  let trapped = false;

  port.on("message", ({ call, method, args }: CallMessage) => {
    if (trapped) return;
    try {
      const handler = methods.get(method);
      if (!handler) throw new Error(`the thread has no method ${method}`);
      const value = handler(...args);
      const transfer = (typeof value === "object" && value !== null && transferLists.get(value)) || [];
      port.postMessage({ kind: "value", call, value, memory: memory() } satisfies Reply, transfer);
    } catch (error) {
      trapped = isTrap(error) || (options.isTrap?.(error) ?? false);
      const failure = describe(error);
      port.postMessage(
        (trapped
          ? { kind: "trapped", call, failure }
          : { kind: "failure", call, failure, memory: memory() }) satisfies Reply,
      );
    }
  });
  port.postMessage({ kind: "ready", memory: memory() } satisfies Reply);
}

/** A stack overflow inside WASM is a RangeError, and leaves it in the middle of something just as a trap does. */
function isTrap(error: unknown): boolean {
  return error instanceof RangeError || (error instanceof Error && error.name === "RuntimeError");
}

function describe(error: unknown): Failure {
  if (!(error instanceof Error)) return { name: "Error", message: String(error) };
  const { code, detail } = error as { code?: unknown; detail?: unknown };
  return {
    name: error.name,
    message: error.message,
    ...(typeof code === "string" ? { code } : {}),
    ...(detail === undefined ? {} : { detail }),
  };
}
