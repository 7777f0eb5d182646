import type { Worker } from "node:worker_threads";
import { EngineBusy, EngineLost } from "./errors.js";
import { createFairQueue } from "./fair-queue.js";
import { attributeFault, isOfACall, type LossReason, messageOf, revive } from "./fault-attribution.js";
import type { CallAnswer, CallMessage, Reply, Request, ThreadMemory } from "./protocol.js";

export interface EngineCall {
  shardKey: string;
  method: string;
  args: readonly unknown[];
  transfer: readonly ArrayBuffer[];
  timeoutMs: number;
  spent?: ((ms: number) => void) | undefined;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

export interface ThreadSlotOptions {
  start(): Worker;
  startTimeoutMs: number;
  maxQueue: number;
  maxMemoryBytes: number;
  maxIdleMemoryBytes: number;
  /** What it may hold besides twice what it needs, for longer than `idleMs`. */
  maxSpareBytes: number;
  /** For how long it has to have nothing to do to be idle. */
  idleMs: number;
  /** Whether it ends when it is idle and keeps nothing. */
  endsEmpty: boolean;
  /** The thread is gone; `culprit`, when known, is the call that did it. */
  onLost(reason: LossReason, culprit: EngineCall | undefined): void;
}

/** One place in the pool: a thread, started when first needed and replaced when lost, and the calls waiting for it in order. */
export interface ThreadSlot {
  push(call: EngineCall): void;
  waiting(): number;
  memory(): number;
  /** Starts the thread if there is none. */
  warm(): void;
  /** Ends the thread now if nothing waits for it. Out: whether it did. */
  recycle(): Promise<boolean>;
  close(): Promise<void>;
}

interface Sent extends EngineCall {
  id: number;
}

/** A thread is replaced no more often than this for holding more than it needs: what it needs has to be loaded again. */
const trimEveryMs = 30_000;

/** Calls sent ahead of the one that runs: hides the round trip, and keeps little in a thread that may be lost. */
const sentAhead = { atOnce: 16, aheadMs: 8 };

export function createThreadSlot(options: ThreadSlotOptions): ThreadSlot {
  let worker: Worker | undefined;
  let ready = false;
  /** Its end was announced: it answers nothing that was not sent before. */
  let dying = false;
  let closed = false;
  let memory: ThreadMemory = { held: 0 };
  /** Since when it holds much more than it needs; when it was last replaced for that. */
  let wastefulSince: number | undefined;
  let trimmedAt = Number.NEGATIVE_INFINITY;
  let scheduled = false;
  let nextId = 1;
  /** Which of the calls the thread runs, as it says itself. */
  let progress: Int32Array = new Int32Array(1);
  /** When it began to, but for `keepBackMs`; when the timer next looks. */
  let began = 0;
  let due = 0;
  let timer: NodeJS.Timeout | undefined;
  let startTimer: NodeJS.Timeout | undefined;
  let idleTimer: NodeJS.Timeout | undefined;
  const ending = new Set<Promise<unknown>>();
  /** In the thread, oldest first, and not answered yet. */
  const sent: Sent[] = [];
  /** Not yet sent. */
  const queue = createFairQueue<EngineCall>(sentAhead);

  function push(call: EngineCall): void {
    if (closed) {
      call.reject(new EngineBusy("the engine is closed"));
      return;
    }
    if (sent.length + queue.length >= options.maxQueue) {
      call.reject(new EngineBusy(`more than ${options.maxQueue} calls wait for one engine thread`));
      return;
    }
    queue.push(call.shardKey, call);
    clearTimeout(idleTimer);
    warm();
    if (ready) sendSoon();
  }

  /** What else is asked for in this turn of the event loop goes in the same message. */
  function sendSoon(): void {
    if (scheduled) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      if (ready) send();
    });
  }

  function warm(): void {
    if (worker || closed) return;
    const started = options.start();
    worker = started;
    ready = false;
    dying = false;
    progress = new Int32Array(new SharedArrayBuffer(4));
    started.postMessage({ progress } satisfies Request);
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
    if (!worker || dying) return;
    const calls: Sent[] = [];
    for (let call = queue.next(); call !== undefined; call = queue.next()) calls.push({ ...call, id: takeId() });
    if (calls.length === 0) return;
    const idle = sent.length === 0;
    try {
      post(worker, calls);
      sent.push(...calls);
    } catch {
      // Arguments that cannot be cloned fail their own call only.
      for (const call of calls) {
        try {
          post(worker, [call]);
          sent.push(call);
        } catch (error) {
          queue.done(call.shardKey, 0);
          call.reject(error);
        }
      }
    }
    if (idle && sent.length > 0) startClock();
  }

  function takeId(): number {
    const id = nextId;
    nextId = nextId === 2 ** 31 - 1 ? 1 : nextId + 1;
    return id;
  }

  function startClock(): void {
    worker?.ref();
    began = performance.now();
    const shortest = Math.min(...sent.map(({ timeoutMs }) => timeoutMs));
    // One timer is enough for a stream of calls: it looks at the clock of whichever call runs when it fires.
    if (timer && due <= began + shortest) return;
    clearTimeout(timer);
    arm(shortest);
  }

  /** The call that the thread runs. Those before it are done, and their answers on the way. */
  function running(): Sent | undefined {
    const id = Atomics.load(progress, 0);
    return sent.find((call) => call.id === id);
  }

  function arm(delay: number): void {
    due = performance.now() + delay;
    timer = setTimeout(() => {
      timer = undefined;
      const [head] = sent;
      if (!head) return;
      const now = performance.now();
      const left = began + (running() ?? head).timeoutMs - now;
      if (left > 0) {
        arm(left);
        return;
      }
      // Fired far too late: this process was stopped or starved, and the thread perhaps with it. Give the call its time again.
      if (now - due > 1000) {
        startClock();
        return;
      }
      // The answer may already have arrived, behind this timer in the event loop: let the loop turn once before judging.
      const since = began;
      setImmediate(() => {
        if (sent.length > 0 && began === since) lose("timed out");
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
    memory = reply.memory;
    for (const answer of reply.answers) if (!take(answer)) return;
    send();
    if (sent.length > 0) startClock();
    else settle();
  }

  /** Out: whether the thread goes on. */
  function take(answer: CallAnswer): boolean {
    const head = sent[0];
    if (head?.id !== answer.call) return false;
    head.spent?.(answer.ms);
    if (answer.kind === "trapped") {
      lose("trapped", answer.failure);
      return false;
    }
    sent.shift();
    queue.done(head.shardKey, answer.ms);
    if (answer.kind === "value") head.resolve(answer.value);
    else head.reject(revive(answer.failure));
    return true;
  }

  const isWasteful = () => memory.needed !== undefined && memory.held > 2 * memory.needed + options.maxSpareBytes;

  /**
   * Nothing to do: let the process end if it wants to, and give back memory that WASM itself never returns. One large document may have taken
   * it, and be gone for long; so what is kept is compared with what is needed, also in a thread that always has something to do.
   */
  function settle(): void {
    worker?.unref();
    clearTimeout(idleTimer);
    const now = performance.now();
    wastefulSince = isWasteful() ? (wastefulSince ?? now) : undefined;
    const wastes = wastefulSince !== undefined && now - wastefulSince > options.idleMs;
    if (memory.held > options.maxMemoryBytes || (wastes && now - trimmedAt > trimEveryMs)) {
      trimmedAt = now;
      lose("outgrown");
      return;
    }
    const isEmpty = options.endsEmpty && memory.needed === 0;
    if (!isEmpty && !isWasteful() && memory.held <= options.maxIdleMemoryBytes) return;
    const untilTrim = isEmpty ? 0 : trimmedAt + trimEveryMs - now;
    idleTimer = setTimeout(
      () => {
        trimmedAt = performance.now();
        if (isEmpty) void stop();
        else lose("outgrown");
      },
      Math.max(options.idleMs, untilTrim),
    );
    idleTimer.unref();
  }

  function lose(reason: LossReason, cause?: unknown): void {
    const culprit = culpritOf(reason, cause);
    const others: EngineCall[] = [...sent.splice(0), ...queue.clear()].filter((call) => call !== culprit);
    stop();
    if (reason === "timed out") culprit?.spent?.(culprit.timeoutMs);
    culprit?.reject(attributeFault(culprit, reason, cause));
    if (others.length > 0) {
      const message = `the engine thread was replaced: ${reason}${cause === undefined ? "" : ` (${messageOf(cause)})`}`;
      // A module that cannot even start will not do so the next time: not a loss that calling again could mend.
      for (const call of others) {
        call.reject(reason === "did not start" ? new Error(message, { cause }) : new EngineLost(message, { cause }));
      }
    }
    options.onLost(reason, culprit);
  }

  function culpritOf(reason: LossReason, cause: unknown): Sent | undefined {
    if (reason === "trapped") return sent[0];
    if (reason === "timed out") return running() ?? sent[0];
    return reason === "died" && isOfACall(cause) ? running() : undefined;
  }

  function stop(): Promise<unknown> {
    const old = worker;
    worker = undefined;
    ready = false;
    memory = { held: 0 };
    wastefulSince = undefined;
    clearTimeout(timer);
    clearTimeout(startTimer);
    clearTimeout(idleTimer);
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
    memory: () => memory.held,
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

function post(worker: Worker, calls: readonly Sent[]): void {
  const messages = calls.map(({ id, method, args }): CallMessage => ({ call: id, method, args }));
  const transfer = calls.flatMap((call) => call.transfer);
  worker.postMessage({ calls: messages } satisfies Request, transfer);
}
