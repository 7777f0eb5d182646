import type { Contention } from "../database/contention.js";
import type { Database } from "../database/types.js";
import { type DocumentKey, documentId } from "../documents/key.js";
import type { LiveDocument, LiveDocuments } from "../documents/live.js";
import { createKeyedMutex } from "../lib/keyed-mutex.js";
import { type KeyRow, keyOf } from "./inbox.js";
import type { WorkerLog } from "./log.js";
import { projectDocument } from "./project.js";
import { createRetryingJobs } from "./retrying-jobs.js";
import { projectionDelay, quietTime, restAfter, type WorkerSettings } from "./settings.js";

export interface ProjectionsOptions {
  readonly db: Database;
  readonly live: LiveDocuments;
  readonly log: WorkerLog;
  readonly settings: WorkerSettings;
  readonly contention: Contention;
}

export interface ProjectionsStats {
  /** Documents of which this worker knows that their records are behind. */
  readonly behind: number;
  /** For how long the one longest behind has been so; 0 when none is. */
  readonly projectionLagMs: number;
}

export interface Projections {
  /** Claims the projections that are overdue, whoever should have made them; making them goes on behind. */
  takeOver(): Promise<void>;
  stats(): ProjectionsStats;
  /** Begins nothing more; resolves when nothing is under way. What is due stays in the queue. */
  close(): Promise<void>;
}

/** A document with edits of this node that its record may not show yet. */
interface Dirty {
  readonly document: LiveDocument;
  /** When the first edit came that no projection has; undefined: a projection is being made that has them all. */
  firstAt: number | undefined;
  lastAt: number;
  /** Others wrote to it too, and perhaps have projected it. */
  shared: boolean;
  timer: NodeJS.Timeout | undefined;
}

/** How long a claim keeps other workers away. */
const claimMs = 15_000;
/** Overdue documents claimed at a time. */
const maxClaimed = 32;

const claimSql = `
  select * from perch.claim_projections(
    overdue_seconds => $1, max_count => $2, claim_seconds => $3, small_bytes => $4, large_overdue_seconds => $5,
    large_seconds => $6, longer_seconds => $7, huge_bytes => $8)`;

const queuedSql = `
  select perch.is_queued(space_id => $1, app_id => $2, table_name => $3, record_id => $4) as queued`;

/**
 * Keeps records behind their documents. Which documents are behind stands in the queue, put there by whatever wrote to them; so
 * nothing is forgotten when a worker dies. The worker that took the edits has the document in memory and knows when they came, so it
 * makes the projection by its own clock; only what is overdue is claimed, for a while, by whoever finds it first.
 */
export function createProjections({ db, live, log, settings, contention }: ProjectionsOptions): Projections {
  const jobs = createRetryingJobs({
    what: "projecting a document",
    concurrency: settings.concurrency,
    log,
    contention,
    takes: documentId,
  });
  const options = { db, mutex: createKeyedMutex(), log, settings };
  const dirty = new Map<string, Dirty>();
  const rests = new Map<string, number>();
  let closed = false;

  /** Until when a space rests; 0 when it does not. */
  function restOf({ spaceId }: DocumentKey): number {
    const until = rests.get(spaceId) ?? 0;
    if (until > Date.now()) return until;
    rests.delete(spaceId);
    return 0;
  }

  async function project(document: LiveDocument, lockTimeoutMs: number, taken?: () => void): Promise<void> {
    const ms = await projectDocument({ ...options, lockTimeoutMs }, document, taken);
    const rest = restAfter(ms);
    if (rest > 0) rests.set(document.key.spaceId, Date.now() + rest);
  }

  const stopListening = live.onCommitted((document, { own }) => {
    const known = dirty.get(document.id);
    const now = Date.now();
    if (known) {
      known.firstAt ??= now;
      known.lastAt = now;
      if (!own) known.shared = true;
    } else if (own && !closed) {
      document.retain();
      const entry: Dirty = { document, firstAt: now, lastAt: now, shared: false, timer: undefined };
      dirty.set(document.id, entry);
      arm(entry);
    }
  });

  function dueAt({ document, firstAt = 0, lastAt }: Dirty): number {
    const bytes = document.projectionBytes;
    const due = Math.min(firstAt + projectionDelay(bytes, settings), lastAt + quietTime(bytes, settings));
    return Math.max(due, restOf(document.key));
  }

  /** Edits only ever move the time it is due to later, so it is looked at again when the timer ends. */
  function arm(entry: Dirty): void {
    const left = dueAt(entry) - Date.now();
    entry.timer = setTimeout(
      () => {
        if (dueAt(entry) > Date.now()) arm(entry);
        else {
          void jobs
            .run(entry.document.key, (lockTimeoutMs) => projectDirty(entry, lockTimeoutMs))
            .then((done) => settle(entry, done));
        }
      },
      Math.max(0, left),
    );
    entry.timer.unref();
  }

  async function projectDirty(entry: Dirty, lockTimeoutMs: number): Promise<void> {
    const { document } = entry;
    // Another of the space was made while this one waited for its turn: later.
    if (restOf(document.key) > 0) return;
    if (entry.shared && !(await isQueued(document.key))) {
      entry.firstAt = undefined;
      return;
    }
    entry.shared = false;
    await project(document, lockTimeoutMs, () => {
      entry.firstAt = undefined;
    });
  }

  /** After an error the document is left to the queue. */
  function settle(entry: Dirty, done: boolean): void {
    if (done && !closed && entry.firstAt !== undefined) arm(entry);
    else {
      dirty.delete(entry.document.id);
      entry.document.release();
    }
  }

  async function isQueued({ spaceId, appId, tableName, recordId }: DocumentKey): Promise<boolean> {
    const [row] = await db.query<{ queued: boolean }>(queuedSql, [spaceId, appId, tableName, recordId]);
    return row?.queued === true;
  }

  async function projectOverdue(key: DocumentKey, lockTimeoutMs: number): Promise<void> {
    // It stays on the queue.
    if (restOf(key) > 0) return;
    const document = await live.open(key);
    try {
      // Nobody may be reading it here, so nothing has kept it up to date.
      await document.refresh();
      await project(document, lockTimeoutMs);
    } finally {
      document.release();
    }
  }

  async function takeOver(): Promise<void> {
    // No more than can be made while the claim lasts. Those that wait for others keep nobody from being made.
    const { working, held } = jobs.counts();
    const max = maxClaimed - (working - held);
    if (closed || max <= 0) return;
    const claimed = await db.query<KeyRow>(claimSql, [
      (settings.takeOverMs + settings.projectionMs) / 1_000,
      max,
      claimMs / 1_000,
      settings.smallProjectionBytes,
      (settings.takeOverMs + settings.projectionMaxMs) / 1_000,
      settings.projectionMaxMs / 1_000,
      Math.max(0, settings.projectionLongestMs - settings.projectionMaxMs) / 1_000,
      settings.hugeProjectionBytes,
    ]);
    const ids = claimed.map(keyOf).filter((key) => !jobs.resting(documentId(key)));
    const made = Promise.all(ids.map((key) => jobs.run(key, (lockTimeoutMs) => projectOverdue(key, lockTimeoutMs))));
    if (claimed.length === max) void made.then(takeOver).catch(() => undefined);
  }

  return {
    takeOver,
    stats() {
      const since = [...dirty.values()].flatMap(({ firstAt }) => firstAt ?? []);
      return { behind: since.length, projectionLagMs: since.length === 0 ? 0 : Date.now() - Math.min(...since) };
    },
    async close() {
      closed = true;
      stopListening();
      for (const entry of dirty.values()) clearTimeout(entry.timer);
      await jobs.settled();
      for (const { document } of dirty.values()) document.release();
      dirty.clear();
    },
  };
}
