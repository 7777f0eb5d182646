import { compiledModule } from "../../database/package-root.js";
import { createEngine, type Engine, type EngineOptions } from "../../engine/engine.js";
import type { DocumentThreadApi } from "./api.js";
import { type DocumentLimits, defaultLimits } from "./limits.js";

export type DocumentEngine = Engine<DocumentThreadApi>;

export type DocumentEngineOptions = Omit<EngineOptions, "thread" | "data"> & { limits?: Partial<DocumentLimits> };

/** The engine whose threads hold Loro documents. */
export function createDocumentEngine({ limits, ...options }: DocumentEngineOptions = {}): DocumentEngine {
  const bounds = { ...defaultLimits, ...limits };
  return createEngine<DocumentThreadApi>({
    // What is stored was checked when it came, and may be large.
    methodTimeoutMs: { load: 30_000, snapshot: 30_000, projectAt: 30_000, revert: 30_000 },
    // Replaced when idle, well before the bound at which it would trap.
    maxMemoryBytes: bounds.wasmBytes / 2,
    ...options,
    thread: compiledModule("documents/loro/thread.js"),
    data: bounds satisfies DocumentLimits,
  });
}
