import { EngineLost } from "../../engine/engine.js";
import { type DocumentThreadApi, isNotLoaded } from "./api.js";
import type { DocumentEngine } from "./engine.js";

/** How often a call is repeated whose thread was lost through no fault of its own. */
export const innocentAttempts = 6;

/** Whether a call failed only because its thread does not hold the document (any more): load it and call again. */
export function isLost(error: unknown): boolean {
  return error instanceof EngineLost || isNotLoaded(error);
}

/**
 * Asks what needs no document, beside the threads of the documents, where others bring what may cost them their thread: then it is asked again.
 * In: where the updates come from, and who is told how long it took. Errors: as the method's.
 */
export async function askApart<Method extends "unpack" | "peers">(
  engine: DocumentEngine,
  source: string,
  method: Method,
  updates: readonly Uint8Array[],
  spent?: (ms: number) => void,
): Promise<ReturnType<DocumentThreadApi[Method]>> {
  for (let attempt = 1; ; attempt++) {
    try {
      const args = [updates] as unknown as Parameters<DocumentThreadApi[Method]>;
      return await engine.call(source, method, args, { apart: true, ...(spent && { spent }) });
    } catch (error) {
      if (!isLost(error) || attempt === innocentAttempts) throw error;
    }
  }
}
