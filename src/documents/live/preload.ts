/** A document that was given to readers out of what is stored. */
export interface Preloadable {
  /** Whether somebody may soon need the engine's replica, and it is not there. */
  readonly cold: boolean;
  /** Has an engine load the replica. */
  preload(): Promise<void>;
  /** Bytes that were read, and are kept for that. */
  readonly unusedBytes: number;
  /** Lets go of them; they can be read again. */
  spare(): void;
}

export interface Preloader {
  /** Somebody has just joined it. */
  wake(document: Preloadable): void;
}

/** What may be kept for the documents that wait, all together. */
const maxBytes = 32 * 2 ** 20;

/**
 * Loads the replicas of documents that were joined, so that the first edit finds them loaded. Some at a time: after a restart everybody comes
 * at once, and what waits behind these loads in the threads, edits above all, should not wait for the documents of everybody. An
 * edit of a document that still waits here has it loaded at once.
 */
export function createPreloader(atOnce: number): Preloader {
  /** What is kept for each of those that wait. */
  const waiting = new Map<Preloadable, number>();
  let kept = 0;
  let running = 0;

  function next(): void {
    for (const [document, bytes] of waiting) {
      if (running >= atOnce) return;
      waiting.delete(document);
      kept -= bytes;
      if (document.cold) void warm(document);
    }
  }

  async function warm(document: Preloadable): Promise<void> {
    running++;
    // Whoever needs the replica will have it loaded again, and be told what was wrong.
    await document.preload().catch(() => undefined);
    running--;
    next();
  }

  return {
    wake(document) {
      if (waiting.has(document)) return;
      const bytes = document.unusedBytes;
      const fits = kept + bytes <= maxBytes;
      waiting.set(document, fits ? bytes : 0);
      if (fits) kept += bytes;
      // First the answer is on its way.
      setImmediate(() => {
        next();
        if (!fits && waiting.has(document)) document.spare();
      });
    },
  };
}
