import { compiledModule } from "../../database/package-root.js";
import { createEngine, type Engine, type EngineOptions } from "../../engine/engine.js";
import type { DocumentThreadApi } from "./api.js";
import { type DocumentLimits, defaultLimits } from "./limits.js";

export type DocumentEngine = Engine<DocumentThreadApi>;

export type DocumentEngineOptions = Omit<EngineOptions, "thread" | "data"> & { limits?: Partial<DocumentLimits> };

const longestMs = 30_000;
/** An update gets the usual time once more for each of so many bytes. */
const usualBytes = 128 * 1024;

/**
 * How long an update may take to be taken in. Loro takes time by its changes times the peers of the document, so the more the larger it is: what ten
 * thousand sessions wrote comes to 740 kB, and takes it five seconds, or sixteen where none of them knew of another. What is as small as most hostile
 * updates are has no more than the usual time.
 */
export function importTimeoutMs(usualMs: number, bytes: number): number {
  return Math.max(usualMs, Math.min(longestMs, Math.floor(usualMs * (1 + bytes / usualBytes))));
}

const totalBytes = (updates: readonly Uint8Array[]) => updates.reduce((sum, { byteLength }) => sum + byteLength, 0);

/** The engine whose threads hold Loro documents. */
export function createDocumentEngine({ limits, ...options }: DocumentEngineOptions = {}): DocumentEngine {
  const bounds = { ...defaultLimits, ...limits };
  return createEngine<DocumentThreadApi>({
    // What is stored was checked when it came, and may be large.
    methodTimeoutMs: {
      load: longestMs,
      snapshot: longestMs,
      projectAt: longestMs,
      revert: longestMs,
      import: (usualMs, [, updates]) => importTimeoutMs(usualMs, totalBytes(updates as readonly Uint8Array[])),
    },
    // Replaced when idle, well before the bound at which it would trap.
    maxMemoryBytes: bounds.wasmBytes / 2,
    ...options,
    thread: compiledModule("documents/loro/thread.js"),
    data: bounds satisfies DocumentLimits,
  });
}
