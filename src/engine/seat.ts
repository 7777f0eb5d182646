import type { Worker } from "node:worker_threads";
import { PerchError, toPerchError } from "../errors.js";
import { EngineBusy, EngineLost } from "./errors.js";
import type { CallMessage, Failure, Reply } from "./protocol.js";

export interface Call {
  shardKey: string;
  method: string;
  args: readonly unknown[];
  transfer: readonly ArrayBuffer[];
  timeoutMs: number;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

export type LossReason = "trapped" | "timed out" | "died" | "outgrown" | "released" | "did not start";

export interface SeatOptions {
  start(): Worker;
  startTimeoutMs: number;
  maxQueue: number;
  maxMemoryBytes: number;
  /** The thread is gone; `culprit`, when known, is the call that did it. */
  onLost(reason: LossReason, culprit: Call | undefined): void;
}

/** One place in the pool: a thread, started when first needed and replaced when lost, and the calls waiting for it in order. */
export interface Seat {
  push(call: Call): void;
  waiting(): number;
  memory(): number;
  /** Starts the thread if there is none. */
  warm(): void;
  /** Ends the thread now if nothing waits for it. Out: whether it did. */
  recycle(): Promise<boolean>;
  close(): Promise<void>;
}

interface Sent extends Call {
  id: number;
}

/** Calls sent ahead of the one that runs: hides the round trip, and keeps little in a thread that may be lost. */
const sentAhead = 16;

export function createSeat(options: SeatOptions): Seat {
  let worker: Worker | undefined;
  let ready = false;
  /** Its end was announced: it answers nothing that was not sent before. */
  let dying = false;
  let closed = false;
  let memory = 0;
  let nextId = 1;
  /** When the head's time is up; when the timer next looks. */
  let deadline = 0;
  let due = 0;
  let timer: NodeJS.Timeout | undefined;
  let startTimer: NodeJS.Timeout | undefined;
  const ending = new Set<Promise<unknown>>();
  /** In the thread, oldest first: the head is running, and its clock runs. */
  const sent: Sent[] = [];
  /** Not yet sent. */
  const queue: Call[] = [];

  function push(call: Call): void {
    if (closed) {
      call.reject(new EngineBusy("the engine is closed"));
      return;
    }
    if (sent.length + queue.length >= options.maxQueue) {
      call.reject(new EngineBusy(`more than ${options.maxQueue} calls wait for one engine thread`));
      return;
    }
    queue.push(call);
    warm();
    if (ready) send();
  }

  function warm(): void {
    if (worker || closed) return;
    const started = options.start();
    worker = started;
    ready = false;
    dying = false;
    started.on("message", (reply: Reply) => {
      if (worker === started) receive(reply);
    });
    // An uncaught error inside the thread arrives here and nowhere else: without a listener it would end the process. It may overtake
    // the last answers, which are all there by the exit; until then nothing more is sent.
    let cause: unknown;
    started.on("error", (error) => {
      cause = error;
      if (worker !== started) return;
      dying = true;
      // Whoever calls now waits for the exit.
      started.ref();
    });
    started.on("exit", () => {
      if (worker === started) lose(ready ? "died" : "did not start", cause);
    });
    startTimer = setTimeout(() => lose("did not start"), options.startTimeoutMs);
    startTimer.unref();
  }

  function send(): void {
    while (worker && !dying && sent.length < sentAhead) {
      const call = queue.shift();
      if (!call) break;
      const id = nextId++;
      try {
        worker.postMessage({ call: id, method: call.method, args: call.args } satisfies CallMessage, call.transfer);
      } catch (error) {
        call.reject(error);
        continue;
      }
      sent.push({ ...call, id });
      if (sent.length === 1) startClock();
    }
  }

  function startClock(): void {
    const head = sent[0];
    if (!head) return;
    worker?.ref();
    deadline = performance.now() + head.timeoutMs;
    // One timer is enough for a stream of calls: it looks at the deadline of whichever call is the head when it fires.
    if (timer && due <= deadline) return;
    clearTimeout(timer);
    arm(head.timeoutMs);
  }

  function arm(delay: number): void {
    due = performance.now() + delay;
    timer = setTimeout(() => {
      timer = undefined;
      const head = sent[0];
      if (!head) return;
      const now = performance.now();
      const left = deadline - now;
      if (left > 0) {
        arm(left);
        return;
      }
      // Fired far too late: this process was stopped or starved, and the thread perhaps with it. Give the call its time again.
      if (now - due > 1000) {
        deadline = now + head.timeoutMs;
        arm(head.timeoutMs);
        return;
      }
      // The answer may already have arrived, behind this timer in the event loop: let the loop turn once before judging.
      setImmediate(() => {
        if (sent[0] === head && performance.now() >= deadline) lose("timed out");
        else if (sent[0] && !timer) arm(Math.max(1, deadline - performance.now()));
      });
    }, delay);
    timer.unref();
  }

  function receive(reply: Reply): void {
    if (reply.kind === "ready") {
      clearTimeout(startTimer);
      ready = true;
      memory = reply.memory;
      send();
      return;
    }
    const head = sent[0];
    if (!head || head.id !== reply.call) return;
    if (reply.kind === "trapped") {
      lose("trapped", reply.failure);
      return;
    }
    sent.shift();
    memory = reply.memory;
    if (reply.kind === "value") head.resolve(reply.value);
    else head.reject(revive(reply.failure));
    send();
    if (sent.length > 0) startClock();
    else settle();
  }

  /** Nothing to do: let the process end if it wants to, and give back memory that WASM itself never returns. */
  function settle(): void {
    worker?.unref();
    if (memory > options.maxMemoryBytes) lose("outgrown");
  }

  function lose(reason: LossReason, cause?: unknown): void {
    const head = sent.shift();
    const culprit =
      reason === "trapped" || reason === "timed out" || (reason === "died" && isOfACall(cause)) ? head : undefined;
    const others = [...sent.splice(0), ...queue.splice(0)];
    if (head && !culprit) others.unshift({ ...head });
    stop();
    culprit?.reject(blame(culprit, reason, cause));
    if (others.length > 0) {
      const message = `the engine thread was replaced: ${reason}${cause === undefined ? "" : ` (${messageOf(cause)})`}`;
      // A module that cannot even start will not do so the next time: not a loss that calling again could mend.
      for (const call of others) {
        call.reject(reason === "did not start" ? new Error(message, { cause }) : new EngineLost(message, { cause }));
      }
    }
    options.onLost(reason, culprit);
  }

  function stop(): Promise<unknown> {
    const old = worker;
    worker = undefined;
    ready = false;
    memory = 0;
    clearTimeout(timer);
    clearTimeout(startTimer);
    timer = undefined;
    if (!old) return Promise.resolve();
    const end = old.terminate().catch(() => undefined);
    ending.add(end);
    return end.finally(() => ending.delete(end));
  }

  return {
    push,
    warm,
    waiting: () => sent.length + queue.length,
    memory: () => memory,
    async recycle() {
      if (sent.length + queue.length > 0) return false;
      await stop();
      return true;
    },
    async close() {
      closed = true;
      while (sent.length + queue.length > 0 && worker) await new Promise((resolve) => setTimeout(resolve, 5));
      await stop();
      await Promise.all(ending);
    },
  };
}

/**
 * Whether a thread died of what it was doing for a call: it ended itself, or filled its heap. An error that nobody caught was
 * thrown outside of any call, since a call's errors are its answer.
 */
function isOfACall(cause: unknown): boolean {
  return cause === undefined || (cause as { code?: unknown } | null)?.code === "ERR_WORKER_OUT_OF_MEMORY";
}

function blame(call: Call, reason: LossReason, cause: unknown): PerchError {
  const message =
    reason === "timed out"
      ? `${call.method} took longer than ${call.timeoutMs} ms`
      : `${call.method} trapped: ${messageOf(cause)}`;
  return new PerchError("PE422", message, {
    reason: reason === "timed out" ? "timed out" : "trapped",
    method: call.method,
  });
}

function messageOf(error: unknown): string {
  if (typeof error === "object" && error !== null && "message" in error) return String(error.message);
  return error === undefined ? "the thread ended" : String(error);
}

function revive(failure: Failure): Error {
  return (
    toPerchError(failure) ??
    Object.assign(
      new Error(failure.message),
      { name: failure.name },
      failure.code === undefined ? {} : { code: failure.code },
    )
  );
}
