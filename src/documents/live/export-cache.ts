import type { Position } from "./queries.js";

/** What brings a reader to a version of a document. */
export interface Exported {
  readonly version: Uint8Array;
  readonly updates: readonly Uint8Array[];
}

/** Which state of a document something was exported from. */
export interface ExportedAt {
  readonly id: string;
  readonly at: Position;
}

/**
 * Whole histories of large documents, kept for a while for the readers who come next: when a process was restarted, or a link was sent
 * around, many come at once who know nothing, and exporting it anew for each would keep the thread from everything else.
 */
export interface ExportCache {
  get(at: ExportedAt): Exported | undefined;
  put(at: ExportedAt, exported: Exported): void;
  /** Lets go of what nobody has asked for in this time. */
  forget(unusedMs: number): void;
}

/** Less than this is exported quickly. */
const minBytes = 64 * 1024;
/** All together. */
const maxBytes = 32 * 2 ** 20;

interface Kept {
  readonly at: ExportedAt;
  readonly exported: Exported;
  readonly bytes: number;
  readonly usedAt: number;
}

export function createExportCache(): ExportCache {
  /** Longest unused first. */
  const kept = new Map<string, Kept>();
  let total = 0;

  function drop({ at: { id }, bytes }: Kept): void {
    kept.delete(id);
    total -= bytes;
  }

  function keep(entry: Kept): void {
    kept.set(entry.at.id, entry);
    total += entry.bytes;
  }

  return {
    get({ id, at }) {
      const entry = kept.get(id);
      if (!entry) return undefined;
      drop(entry);
      // By its revision, too: a document that was closed meanwhile may have something else there, where the database went back.
      if (entry.at.at.seq !== at.seq || entry.at.at.revision !== at.revision) return undefined;
      keep({ ...entry, usedAt: Date.now() });
      return entry.exported;
    },
    put(at, exported) {
      const before = kept.get(at.id);
      if (before) drop(before);
      const bytes = exported.updates.reduce((sum, update) => sum + update.byteLength, 0);
      if (bytes < minBytes || bytes > maxBytes / 4) return;
      keep({ at, exported, bytes, usedAt: Date.now() });
      for (const entry of kept.values()) {
        if (total <= maxBytes) break;
        drop(entry);
      }
    },
    forget(unusedMs) {
      const before = Date.now() - unusedMs;
      for (const entry of kept.values()) {
        if (entry.usedAt > before) break;
        drop(entry);
      }
    },
  };
}
