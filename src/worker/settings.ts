import { z } from "zod";
import { countOrNone } from "../lib/settings.js";

/** What a serving process can be told of what its worker forgets; `src/lib/settings.ts` says how to add one. */
export const workerSettingTable = {
  keepChangesDays: z.coerce
    .number()
    .positive()
    .optional()
    .describe("log entries older than this many days are forgotten; unset: none ever"),
  keepChangesLast: countOrNone(1_000).describe("but so many of each space are kept whatever their age"),
};

/** How a worker behaves; everything has a default. */
export interface WorkerSettings {
  /** How often the tables are looked at when no notification asks for it. */
  pollMs: number;
  /** Documents merged, and documents projected, at the same time. */
  concurrency: number;
  /** How long the record of a document may lag behind it, while its projection is at most `smallProjectionBytes`. */
  projectionMs: number;
  smallProjectionBytes: number;
  /** The same for projections of `largeProjectionBytes` and more; in between it grows with the size. */
  projectionMaxMs: number;
  largeProjectionBytes: number;
  /** From this many bytes on it grows further, in proportion to the size, up to `projectionLongestMs`. */
  hugeProjectionBytes: number;
  projectionLongestMs: number;
  /** How long a projection may be overdue before another worker than the one that took the edits makes it. */
  takeOverMs: number;
  /** The tail is folded beyond this many bytes, or half the snapshot if that is more. */
  foldBytes: number;
  /** The tail is folded beyond this many updates, or a two-hundredth of the snapshot's bytes if that is more. */
  foldUpdates: number;
  /** Log entries older than this are forgotten, but for the last `keepChangesLast` of each space; undefined: none ever. */
  keepChangesMs: number | undefined;
  keepChangesLast: number;
  /** How often old log entries are looked for. */
  pruneEveryMs: number;
  /** How long closing waits for what is under way. */
  closeMs: number;
}

export const defaultWorkerSettings: Readonly<WorkerSettings> = {
  pollMs: 1_000,
  concurrency: 4,
  projectionMs: 150,
  smallProjectionBytes: 16 * 1024,
  projectionMaxMs: 5_000,
  largeProjectionBytes: 64 * 1024,
  hugeProjectionBytes: 1024 * 1024,
  projectionLongestMs: 60_000,
  takeOverMs: 1_000,
  foldBytes: 64 * 1024,
  foldUpdates: 2_000,
  keepChangesMs: undefined,
  keepChangesLast: 1_000,
  pruneEveryMs: 60_000,
  closeMs: 4_000,
};

/**
 * How long the record may lag behind. A projection costs its whole size, in time and in WAL, so the interval grows until what
 * projecting a document costs a second stays the same however large it is; 5 s is the most that readers of records should wait, except
 * for those of more than a megabyte: a keystroke in a text of 8 MB would cost 1.6 MB of WAL every 5 s, so there it is every 40 s. The
 * queue of the database knows only since when a document is behind: this and the claim in projections.ts say for how long it may be.
 */
export function projectionDelay(bytes: number, settings: WorkerSettings): number {
  const { projectionMs, projectionMaxMs, smallProjectionBytes, largeProjectionBytes } = settings;
  const share = (bytes - smallProjectionBytes) / (largeProjectionBytes - smallProjectionBytes);
  const delay = projectionMs + Math.min(1, Math.max(0, share)) * (projectionMaxMs - projectionMs);
  return Math.max(
    delay,
    Math.min(settings.projectionLongestMs, (projectionMaxMs * bytes) / settings.hugeProjectionBytes),
  );
}

/**
 * In: how long the database took to write a record. Out: for how long its space makes no other. What a value costs to write its size does
 * not tell (1e300 is six bytes of JSON, and three hundred digits there), and any number of documents may be of that kind: so the records
 * of one space take a tenth of one connection's time at most. Usual ones take some milliseconds, of which nothing follows.
 */
export function restAfter(ms: number): number {
  return Math.min(10_000, 10 * Math.max(0, ms - 50));
}

/** A document that nobody edited for this long is quiet, and projected at once. */
export function quietTime(bytes: number, settings: WorkerSettings): number {
  return Math.max(settings.projectionMs, 0.3 * projectionDelay(bytes, settings));
}

/**
 * Whether a tail should be folded. A fold writes the whole snapshot, so the tail has to be in proportion to it: with half the
 * snapshot's bytes, two bytes of snapshot are written for each byte of tail, whatever the size. A long tail makes opening slow, by
 * its number of updates rather than by their bytes, so that is bounded as well; and again in proportion, since with an update of some
 * 100 bytes both bounds are then reached together.
 */
export function shouldFold(
  tail: { count: number; bytes: number },
  snapshotBytes: number,
  settings: WorkerSettings,
): boolean {
  return (
    tail.bytes > Math.max(settings.foldBytes, snapshotBytes / 2) ||
    tail.count > Math.max(settings.foldUpdates, snapshotBytes / 200)
  );
}

/** How long a fold waits for a lock; the next projection tries again. */
export const foldLockTimeoutMs = 500;
