/** Engines for one test each, of which the threads are used again: to start one takes as long as most tests do. */
import { setTimeout as pause } from "node:timers/promises";
import { createDocumentEngine, type DocumentEngine } from "../../src/documents/loro/engine.js";

/** Those that nobody uses just now, and that came to no harm. */
const idle: DocumentEngine[] = [];
const idleAtMost = 4;
let lent = 0;

/**
 * Out: an engine with one thread, which holds no document yet: whatever its calls name is named otherwise in the thread. For tests in which an engine is
 * a means; what is about engines, their memory or their limits makes one of its own.
 */
export function lendEngine(): DocumentEngine {
  const engine = idle.pop() ?? createDocumentEngine({ threads: 1 });
  lent += 1;
  const prefix = `${lent}:`;
  const loaded = new Set<string>();
  const stops: (() => void)[] = [];
  let closing: Promise<void> | undefined;

  async function close(): Promise<void> {
    for (const stop of stops) stop();
    // A call that takes too long costs the thread its life.
    while (engine.stats().waiting > 0) await pause(2);
    const isHarmed = () => engine.stats().replaced > 0 || engine.stats().quarantined > 0;
    if (isHarmed() || idle.length >= idleAtMost) return engine.close();
    await Promise.all([...loaded].map((id) => engine.call(id, "drop", [id])));
    idle.push(engine);
  }

  return {
    ...engine,
    call(shardKey, method, args, options) {
      if (closing !== undefined) return Promise.reject(new Error("the engine is closed"));
      const key = prefix + shardKey;
      if (method === "load") loaded.add(key);
      const [first, ...rest] = args as unknown[];
      const named = (first === shardKey ? [key, ...rest] : args) as typeof args;
      return engine.call(key, method, named, options);
    },
    threadOf: (shardKey) => engine.threadOf(prefix + shardKey),
    onReplaced(listener) {
      const stop = engine.onReplaced((loss) => listener({ ...loss, shardKey: loss.shardKey?.slice(prefix.length) }));
      stops.push(stop);
      return stop;
    },
    close() {
      closing ??= close();
      return closing;
    },
  };
}
