import type { LoroDoc, PeerID } from "loro-crdt";
import { notLoaded } from "./api.js";
import type { createHistory } from "./checks/history.js";
import type { DocumentSchema } from "./fields.js";
import type { DocumentLimits } from "./limits.js";

/** Where an author went another way than the document under the same names. */
export interface Fork {
  /** The first operation that is another one, and the end of what is kept under other names. */
  readonly start: number;
  readonly end: number;
  readonly blobs: readonly Uint8Array[];
  /** A version of the document that shows what the author has. */
  readonly base: ReadonlyMap<PeerID, number>;
}

export interface CachedDocument {
  doc: LoroDoc;
  schema: DocumentSchema;
  /** The root containers the schema allows. */
  roots: ReadonlySet<string>;
  /** What its state does not show. */
  history: ReturnType<typeof createHistory>;
  /** The peers of its earlier incarnations: nothing of them may come in any more. */
  ended: ReadonlySet<string>;
  /** What owners of peers wrote under names that others had taken; see `keepApart`. */
  forks: Map<PeerID, Fork>;
  /** Bytes of these. */
  forkBytes: number;
  /** Bytes of the blobs it was made from: at least its stored size. */
  blobBytes: number;
  /** The last known stored size. */
  storedBytes: number;
  /** The last known weight of what it shows, and of what was written since. */
  shownBytes: number;
  added: number;
}

export interface DocumentCache {
  has(id: string): boolean;
  /** The document, now the most recently used. Errors: `not_loaded`. */
  get(id: string): CachedDocument;
  put(id: string, held: CachedDocument): void;
  /** More bytes went into the document. */
  grow(id: string, blobBytes: number): void;
  /** Its author wrote more under names that others had taken. */
  fork(id: string, peer: PeerID, fork: Fork): void;
  /** Its stored size was measured. */
  measured(held: CachedDocument, storedBytes: number): void;
  drop(id: string): void;
  stats(): { documents: number; estimatedBytes: number };
}

/** Measured: an empty document takes some tens of kB, and one byte of a blob about ten once it is decoded. */
export const estimateBytes = (blobBytes: number) => 32 * 1024 + 10 * blobBytes;

const lengthOf = (fork: Fork | undefined) => (fork?.blobs ?? []).reduce((sum, blob) => sum + blob.length, 0);

/**
 * Least recently used documents go first, and are freed at once: left to the garbage collector, WASM memory, of which it sees
 * nothing, would grow without end.
 */
export function createCache(limits: Pick<DocumentLimits, "cachedDocuments" | "cachedBytes">): DocumentCache {
  const held = new Map<string, CachedDocument>();
  let bytes = 0;

  function drop(id: string): void {
    const entry = held.get(id);
    if (!entry) return;
    held.delete(id);
    bytes -= estimateBytes(entry.blobBytes) + entry.forkBytes;
    entry.doc.free();
  }

  /** The newest entry stays whatever its size: somebody is about to use it. */
  function evict(): void {
    for (const id of held.keys()) {
      if (held.size <= 1 || (held.size <= limits.cachedDocuments && bytes <= limits.cachedBytes)) break;
      drop(id);
    }
  }

  function resize(entry: CachedDocument, change: number): void {
    entry.blobBytes += change;
    bytes += estimateBytes(change) - estimateBytes(0);
  }

  function get(id: string): CachedDocument {
    const entry = held.get(id);
    if (!entry) throw notLoaded(id);
    held.delete(id);
    held.set(id, entry);
    return entry;
  }

  return {
    has: (id) => held.has(id),
    get,
    put(id, entry) {
      drop(id);
      held.set(id, entry);
      bytes += estimateBytes(entry.blobBytes) + entry.forkBytes;
      evict();
    },
    grow(id, blobBytes) {
      resize(get(id), blobBytes);
      evict();
    },
    fork(id, peer, fork) {
      const entry = get(id);
      const more = lengthOf(fork) - lengthOf(entry.forks.get(peer));
      entry.forks.set(peer, fork);
      entry.forkBytes += more;
      bytes += more;
      evict();
    },
    measured(entry, storedBytes) {
      resize(entry, storedBytes - entry.blobBytes);
      entry.storedBytes = storedBytes;
    },
    drop,
    stats: () => ({ documents: held.size, estimatedBytes: bytes }),
  };
}
