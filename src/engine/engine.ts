import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { LossReason } from "./fault-attribution.js";
import type { Handlers } from "./protocol.js";
import { createThreadSlot, type EngineCall, type ThreadSlot } from "./thread-slot.js";
import { detachViews } from "./views.js";

export { EngineBusy, EngineLost } from "./errors.js";

export interface EngineOptions {
  /** The thread module, compiled; see `compiledModule`. */
  thread: URL;
  /** Default: one less than the processors, at most 4. */
  threads?: number;
  /** How long one call may run in its thread; waiting in the queue does not count. Default 5,000. */
  timeoutMs?: number;
  /** The same, for single methods: as it is, or worked out from the usual and what the call is given. */
  methodTimeoutMs?: Readonly<Record<string, number | MethodTimeout>>;
  /** Calls that may wait for one thread. Default 10,000. */
  maxQueue?: number;
  /** What a thread may hold outside the JavaScript heap before it is replaced, once it is idle. Default 1 GiB. */
  maxMemoryBytes?: number;
  /** The same for one that has had nothing to do for `idleMs`. Default 128 MiB, and 5,000. */
  maxIdleMemoryBytes?: number;
  /** What it may hold there besides twice what it needs. Default 32 MiB. */
  maxSpareBytes?: number;
  idleMs?: number;
  /** The JavaScript heap of one thread; beyond it the thread dies. Default 512. */
  maxHeapMb?: number;
  /** How long keys that trapped or hung a thread stay apart from the others. Default ten minutes. */
  quarantineMs?: number;
  /** Given to the thread module as `workerData`. */
  data?: unknown;
}

export type MethodTimeout = (usualMs: number, args: readonly unknown[]) => number;

export interface CallOptions {
  timeoutMs?: number;
  /** Buffers to move into the thread; the caller must not use them afterwards. Everything else is copied. */
  transfer?: readonly ArrayBuffer[];
  /** Needs nothing that a thread keeps, and may be heavy: runs beside the threads, in the quarantine. */
  apart?: boolean;
  /** Told how long the call ran in its thread, before it is settled; not when the thread was lost to another call. */
  spent?(ms: number): void;
}

export interface ThreadLoss {
  thread: number;
  reason: LossReason;
  /** The key of the call that did it, when one did. */
  shardKey: string | undefined;
}

export interface EngineStats {
  threads: number;
  waiting: number;
  memoryBytes: number;
  replaced: number;
  quarantined: number;
}

export interface Engine<Api extends Handlers<Api>> {
  /**
   * Runs `method` in the thread of `shardKey`. Calls with the same key run in the same thread, in the order of calling.
   * Out: the method's result. Errors: what the method threw (a PerchError stays one); PE422 with detail.reason "trapped" or "timed
   * out" when this very call cost the thread its life; EngineLost when another did, or the thread was replaced (the thread's state
   * is gone: build it up again, then repeat); EngineBusy when too many calls wait or the engine is closed.
   */
  call<Method extends keyof Api & string>(
    shardKey: string,
    method: Method,
    args: Parameters<Api[Method]>,
    options?: CallOptions,
  ): Promise<Awaited<ReturnType<Api[Method]>>>;
  /** Which thread serves the key now. */
  threadOf(shardKey: string): number;
  /** Tells of every thread lost, after its calls were rejected. Out: stops telling. */
  onReplaced(listener: (loss: ThreadLoss) => void): () => void;
  /** Starts all threads, so that the first calls need not wait for it. */
  warm(): void;
  stats(): EngineStats;
  /** Waits for the calls already made, then ends the threads. */
  close(): Promise<void>;
}

/**
 * A pool of supervised threads. A thread that traps or overruns its time is ended and replaced; the call at fault is told so, those
 * that waited behind it reject with EngineLost.
 *
 * Whoever can make a thread trap can do so again and again, and every document of that thread pays. So the key of a call at fault is
 * served by one extra thread, the quarantine, until all such keys have behaved for `quarantineMs`; then that thread is ended, and its
 * keys go back. Calls that need no state and may be heavy run there, too. (Keys cannot go back one by one: the quarantine would keep what
 * it knew of a key, and hand it out, stale, when
 * the key came again.)
 */
export function createEngine<Api extends Handlers<Api>>(options: EngineOptions): Engine<Api> {
  const threads = options.threads ?? Math.max(1, Math.min(4, availableParallelism() - 1));
  const timeoutMs = options.timeoutMs ?? 5_000;
  const quarantineMs = options.quarantineMs ?? 600_000;
  const listeners = new Set<(loss: ThreadLoss) => void>();
  const quarantined = new Set<string>();
  let release: NodeJS.Timeout | undefined;
  let replaced = 0;
  let closing = false;

  const slots: ThreadSlot[] = [];
  for (let thread = 0; thread <= threads; thread++) {
    slots.push(
      createThreadSlot({
        start: () => startThread(options),
        startTimeoutMs: 60_000,
        maxQueue: options.maxQueue ?? 10_000,
        maxMemoryBytes: options.maxMemoryBytes ?? 2 ** 30,
        maxIdleMemoryBytes: options.maxIdleMemoryBytes ?? 2 ** 27,
        maxSpareBytes: options.maxSpareBytes ?? 2 ** 25,
        idleMs: options.idleMs ?? 5_000,
        // The quarantine is there for when something has gone wrong, and for heavy calls.
        endsEmpty: thread === threads,
        onLost: (reason, culprit) => lost(thread, reason, culprit),
      }),
    );
  }

  function lost(thread: number, reason: LossReason, culprit: EngineCall | undefined): void {
    replaced++;
    const shardKey = culprit?.shardKey;
    if (shardKey !== undefined && !closing) quarantine(shardKey);
    for (const listener of listeners) listener({ thread, reason, shardKey });
  }

  function quarantine(shardKey: string): void {
    quarantined.add(shardKey);
    // Started ahead of need: whoever edits beside an attacker then waits for no start-up.
    slotAt(threads).warm();
    clearTimeout(release);
    release = setTimeout(endQuarantine, quarantineMs);
    release.unref();
  }

  function endQuarantine(): void {
    const slot = slotAt(threads);
    if (slot.waiting() > 0) {
      release = setTimeout(endQuarantine, 50);
      release.unref();
      return;
    }
    quarantined.clear();
    void slot.recycle();
    for (const listener of listeners) listener({ thread: threads, reason: "released", shardKey: undefined });
  }

  function slotAt(thread: number): ThreadSlot {
    const slot = slots[thread];
    if (!slot) throw new RangeError(`no thread ${thread}`);
    return slot;
  }

  function timeoutOf(method: string, args: readonly unknown[]): number {
    const own = options.methodTimeoutMs?.[method] ?? timeoutMs;
    return typeof own === "number" ? own : own(timeoutMs, args);
  }

  const threadOf = (shardKey: string) => (quarantined.has(shardKey) ? threads : hash(shardKey) % threads);

  return {
    call(shardKey, method, args, callOptions = {}) {
      return new Promise((resolve, reject) => {
        const detached = detachViews(args, callOptions.transfer ?? []);
        const call: EngineCall = {
          shardKey,
          method,
          ...detached,
          timeoutMs: callOptions.timeoutMs ?? timeoutOf(method, args),
          spent: callOptions.spent?.bind(callOptions),
          resolve: resolve as (value: unknown) => void,
          reject,
        };
        slotAt(callOptions.apart ? threads : threadOf(shardKey)).push(call);
      });
    },
    threadOf,
    onReplaced(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    warm() {
      for (const slot of slots.slice(0, threads)) slot.warm();
    },
    stats: () => ({
      threads,
      waiting: slots.reduce((sum, slot) => sum + slot.waiting(), 0),
      memoryBytes: slots.reduce((sum, slot) => sum + slot.memory(), 0),
      replaced,
      quarantined: quarantined.size,
    }),
    async close() {
      closing = true;
      clearTimeout(release);
      await Promise.all(slots.map((slot) => slot.close()));
    },
  };
}

function startThread(options: EngineOptions): Worker {
  const worker = new Worker(options.thread, {
    workerData: options.data,
    // Neither secrets nor the flags of this process are any business of a thread that reads bytes from strangers.
    env: {},
    argv: [],
    execArgv: [],
    // What a panicking module prints is chosen by whoever made it panic.
    stdout: true,
    stderr: true,
    resourceLimits: { maxOldGenerationSizeMb: options.maxHeapMb ?? 512 },
  });
  worker.stdout.resume();
  worker.stderr.resume();
  return worker;
}

/** FNV-1a: spreads keys evenly; nothing outside this process ever depends on it. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    value = Math.imul(value ^ text.charCodeAt(index), 0x01000193);
  }
  return value >>> 0;
}
