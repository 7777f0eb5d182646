import type { DocumentEngine } from "../loro/engine.js";
import { modeOf } from "../loro/format/envelope.js";
import { askApart } from "../loro/lost.js";

/** Whether any of these, if they are what they say, is a snapshot. */
export function isPacked(updates: readonly Uint8Array[]): boolean {
  return updates.some((update) => modeOf(update) === "snapshot");
}

/**
 * The same updates, without snapshots: decoded beside the threads of the documents, since a few bytes can claim to be very many.
 * In: where they come from, and who is told how long it took. Errors: PE413, PE422.
 */
export async function unpacked(
  engine: DocumentEngine,
  source: string,
  updates: readonly Uint8Array[],
  spent?: (ms: number) => void,
): Promise<readonly Uint8Array[]> {
  return (await askApart(engine, `unpacking ${source}`, "unpack", updates, spent)).updates;
}
