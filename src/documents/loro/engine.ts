import { createEngine, type Engine, type EngineOptions, threadModule } from "../../engine/engine.js";
import type { DocumentThreadApi } from "./api.js";
import { type DocumentLimits, defaultLimits } from "./limits.js";

export type DocumentEngine = Engine<DocumentThreadApi>;

export type DocumentEngineOptions = Omit<EngineOptions, "thread" | "data"> & { limits?: Partial<DocumentLimits> };

/** The engine whose threads hold Loro documents. */
export function createDocumentEngine({ limits, ...options }: DocumentEngineOptions = {}): DocumentEngine {
  return createEngine<DocumentThreadApi>({
    ...options,
    thread: threadModule(import.meta.url, "./thread.js"),
    data: { ...defaultLimits, ...limits } satisfies DocumentLimits,
  });
}
