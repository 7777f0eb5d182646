/** The limits an engine thread enforces. */
export interface DocumentLimits {
  /** One update, in bytes. */
  updateBytes: number;
  /** A document with its history, as it is stored. */
  documentBytes: number;
  /** How deep values, containers and tree nodes may be nested inside a field. */
  depth: number;
  /** Single operations (characters, items, deletions) one update may hold, however few bytes they were packed into. */
  updateOps: number;
  /** Nodes of one value: itself, and all items and keys inside it. */
  valueNodes: number;
  /** A document as plain JSON: it has to fit in its record, in an answer, and in a thread. */
  projectedBytes: number;
  /** Documents one thread keeps in memory. */
  cachedDocuments: number;
  /** Their estimated size together. */
  cachedBytes: number;
  /** How long a text may be compared character by character, before it is compared by line. */
  textDiffMs: number;
  /** WASM memory of one thread: a decoder that asks for more traps. */
  wasmBytes: number;
}

/**
 * In memory a document takes about ten times its stored size (see `estimateBytes`), so one of `documentBytes` has room in a thread;
 * how they are set is in limit-settings.ts.
 */
export const defaultLimits: Readonly<DocumentLimits> = {
  updateBytes: 16 * 2 ** 20,
  documentBytes: 64 * 2 ** 20,
  depth: 100,
  updateOps: 2_000_000,
  valueNodes: 100_000,
  projectedBytes: 32 * 2 ** 20,
  cachedDocuments: 500,
  cachedBytes: 256 * 2 ** 20,
  textDiffMs: 200,
  wasmBytes: 2 ** 30,
};
