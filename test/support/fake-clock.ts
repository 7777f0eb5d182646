import { vi } from "vitest";

type Work = (...args: unknown[]) => void;

/** Frames of a stack above the one that asks for a timer, in which its owner is looked for. */
const near = 3;

/**
 * Fakes the clock, until `vi.useRealTimers`. Out: where the timers there are were set, of code whose path contains `by`. All that is in the process sets
 * timers: an HTTP client does, or a client of perch, of a test that is over, and what is counted here shall not depend on it.
 */
export function fakeClock(by: string, options?: Parameters<typeof vi.useFakeTimers>[0]): () => string[] {
  vi.useFakeTimers(options);
  const pending = new Map<unknown, string>();
  const owner = () => {
    const frames = new Error().stack?.split("\n").slice(3, 3 + near) ?? [];
    return frames.some((frame) => frame.includes(by)) ? frames.map((frame) => frame.trim()).join(", ") : undefined;
  };
  const isFaked = (name: keyof typeof globalThis) => options?.toFake?.includes(name as never) ?? true;
  const replace = (name: "setTimeout" | "setInterval" | "clearTimeout" | "clearInterval", counted: object) => {
    // What vi has to know in order to set it back is a property of what it put there.
    if (isFaked(name)) Object.assign(globalThis, { [name]: Object.assign(counted, globalThis[name]) });
  };
  for (const name of ["setTimeout", "setInterval"] as const) {
    const set = globalThis[name] as (work: Work, ms?: number, ...args: unknown[]) => unknown;
    replace(name, (work: Work, ms?: number, ...args: unknown[]) => {
      const once = (...given: unknown[]) => {
        pending.delete(timer);
        work(...given);
      };
      const timer = set(name === "setTimeout" ? once : work, ms, ...args);
      const setBy = owner();
      if (setBy !== undefined) pending.set(timer, setBy);
      return timer;
    });
  }
  for (const name of ["clearTimeout", "clearInterval"] as const) {
    const clear = globalThis[name] as (timer: unknown) => void;
    replace(name, (timer: unknown) => {
      pending.delete(timer);
      clear(timer);
    });
  }
  return () => [...pending.values()];
}
