import { type MessagePort, parentPort, receiveMessageOnPort } from "node:worker_threads";
import {
  type CallAnswer,
  type CallFailure,
  type CallMessage,
  type Handlers,
  keepBackMs,
  type Reply,
  type Request,
  type ThreadMemory,
} from "./protocol.js";

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
  /** What is held outside the JavaScript heap, asked after calls; must be cheap. */
  memory?(): ThreadMemory;
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
  const memory = options.memory ?? (() => ({ held: 0 }));
  const methods = new Map(Object.entries(handlers) as [string, (...args: unknown[]) => unknown][]);
  const outgoing = createOutgoing(port, memory);
  let progress: Int32Array = new Int32Array(1);
  let trapped = false;

  function run({ call, method, args }: CallMessage): void {
    Atomics.store(progress, 0, call);
    const began = performance.now();
    try {
      const handler = methods.get(method);
      if (!handler) throw new Error(`the thread has no method ${method}`);
      const value = handler(...args);
      outgoing.add({ call, ms: performance.now() - began, kind: "value", value });
    } catch (error) {
      trapped = isTrap(error) || (options.isTrap?.(error) ?? false);
      const ms = performance.now() - began;
      outgoing.add({ call, ms, kind: trapped ? "trapped" : "failure", failure: describe(error) });
    }
  }

  /** The calls of a message and of those behind it, until none is left. */
  function runAll(first: Request): void {
    for (let message: Request | undefined = first; message; message = nextMessage(port as MessagePort)) {
      if ("progress" in message) {
        progress = message.progress;
        continue;
      }
      for (const call of message.calls) {
        if (trapped) return;
        // Whoever waits for the answer to a short call does not wait for a long one behind it. And the engine, which takes the
        // first call without an answer for the one that runs, is never wrong by more than this time.
        outgoing.postOlderThan(keepBackMs);
        run(call);
      }
    }
    outgoing.post();
    Atomics.store(progress, 0, 0);
  }

  port.on("message", (message: Request) => {
    if (!trapped) runAll(message);
    if (trapped) outgoing.post();
  });
  port.postMessage({ kind: "ready", memory: memory() } satisfies Reply);
}

function nextMessage(port: MessagePort): Request | undefined {
  return receiveMessageOnPort(port)?.message as Request | undefined;
}

/** Answers on their way out, kept back until they are posted together. */
function createOutgoing(port: MessagePort, memory: () => ThreadMemory) {
  let answers: CallAnswer[] = [];
  let since = 0;

  function send(sent: readonly CallAnswer[]): void {
    const transfer = sent.flatMap((answer) => transferListOf(answer));
    port.postMessage({ kind: "answers", answers: sent, memory: memory() } satisfies Reply, transfer);
  }

  function post(): void {
    if (answers.length === 0) return;
    const sent = answers;
    answers = [];
    try {
      send(sent);
    } catch {
      // A value that cannot be cloned fails its own call only.
      for (const answer of sent) {
        try {
          send([answer]);
        } catch (error) {
          send([{ call: answer.call, ms: answer.ms, kind: "failure", failure: describe(error) }]);
        }
      }
    }
  }

  return {
    add(answer: CallAnswer): void {
      answers.push(answer);
    },
    post,
    postOlderThan(ms: number): void {
      if (answers.length === 0) since = performance.now();
      else if (performance.now() - since > ms) {
        post();
        since = performance.now();
      }
    },
  };
}

function transferListOf(answer: CallAnswer): readonly ArrayBuffer[] {
  if (answer.kind !== "value" || typeof answer.value !== "object" || answer.value === null) return [];
  return transferLists.get(answer.value) ?? [];
}

/** A stack overflow inside WASM is a RangeError, and leaves it in the middle of something just as a trap does. */
function isTrap(error: unknown): boolean {
  return error instanceof RangeError || (error instanceof Error && error.name === "RuntimeError");
}

function describe(error: unknown): CallFailure {
  if (!(error instanceof Error)) return { name: "Error", message: String(error) };
  const { code, detail } = error as { code?: unknown; detail?: unknown };
  return {
    name: error.name,
    message: error.message,
    ...(typeof code === "string" ? { code } : {}),
    ...(detail === undefined ? {} : { detail }),
  };
}
