import { count, milliseconds, type SettingsOf } from "../lib/settings.js";
import { type DocumentLimits, defaultLimits } from "./loro/limits.js";

/** What a serving process can be told of the limits of documents; `src/lib/settings.ts` says how to add one. */
export const documentLimitTable = {
  maxDocumentBytes: count(defaultLimits.documentBytes).describe("a document with its history, stored"),
  maxUpdateOps: count(defaultLimits.updateOps).describe("characters, items and deletions in one update"),
  maxDepth: count(defaultLimits.depth).describe("how deep values, containers and tree nodes are nested in a field"),
  maxValueNodes: count(defaultLimits.valueNodes).describe("items and keys in one JSON value"),
  maxProjectedBytes: count(defaultLimits.projectedBytes).describe("a document as plain JSON"),
  cachedDocuments: count(defaultLimits.cachedDocuments).describe("documents kept in memory that nobody has open"),
  cachedBytes: count(defaultLimits.cachedBytes).describe("documents of one thread in memory, all together"),
  threadBytes: count(defaultLimits.wasmBytes).describe("memory of one thread; what asks for more is refused"),
  textDiffMs: milliseconds(defaultLimits.textDiffMs).describe("how long texts are compared by character, not by line"),
};

export type DocumentLimitSettings = SettingsOf<typeof documentLimitTable>;

/** The engine's limits. `updateBytes` is what a client may send: what the gateway lets in, the engine has to take. */
export function engineLimits(settings: DocumentLimitSettings, updateBytes: number): DocumentLimits {
  return {
    updateBytes,
    documentBytes: settings.maxDocumentBytes,
    updateOps: settings.maxUpdateOps,
    depth: settings.maxDepth,
    valueNodes: settings.maxValueNodes,
    projectedBytes: settings.maxProjectedBytes,
    cachedDocuments: settings.cachedDocuments,
    cachedBytes: settings.cachedBytes,
    wasmBytes: settings.threadBytes,
    textDiffMs: settings.textDiffMs,
  };
}

/** A limit that SQL enforces, set with `perch.set_limit`. */
export interface DatabaseLimit {
  readonly name: string;
  readonly fallback: number;
  readonly description: string;
}

/** In: what calls `perch.setting` in sql/documents. */
export const databaseLimits: readonly DatabaseLimit[] = [
  { name: "max_update_bytes", fallback: 16 * 2 ** 20, description: "an update, whichever way it comes" },
  { name: "max_patch_bytes", fallback: 4 * 2 ** 20, description: "a JSON patch" },
  { name: "max_fields", fallback: 1_000, description: "fields that a table may declare" },
];
