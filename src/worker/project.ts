import { defaultPatienceMs } from "../database/contention.js";
import type { Queryable } from "../database/types.js";
import type { DocumentKey } from "../documents/key.js";
import type { LiveDocument } from "../documents/live.js";
import type { KeyedMutex } from "../lib/keyed-mutex.js";
import type { WorkerLog } from "./log.js";
import { foldLockTimeoutMs, shouldFold, type WorkerSettings } from "./settings.js";

export interface ProjectOptions {
  readonly db: Queryable;
  /** By space. */
  readonly mutex: KeyedMutex;
  readonly log: WorkerLog;
  readonly settings: WorkerSettings;
  /** How long a lock is waited for. */
  readonly lockTimeoutMs: number;
}

interface ProjectedRow {
  logged_seq: number | null;
  tail_count: number;
  tail_bytes: number;
  waited_ms: number;
}

// Whoever holds a lock that this needs in a long transaction of their own makes this document wait, not the worker.
const projectSql = `
  select * from perch.project_document(space_id => $1, app_id => $2, table_name => $3, record_id => $4, seq => $5,
                                       data => $6::jsonb, size => $7, lock_timeout_ms => $8, revision => $9)`;

const foldSql = `
  select perch.fold_document(space_id => $1, app_id => $2, table_name => $3, record_id => $4, snapshot => $5,
                             seq => $6, lock_timeout_ms => $7, version => $8, revision => $9) as folded`;

/**
 * Writes the document's present JSON to its record, and folds its tail when that has grown long. `taken` is called when what is
 * written is determined: edits from then on are not in it.
 * Out: when both are committed, how long the database took for the record, ms, without what it waited for others. A failed fold is logged only, since the projection stands and the next one folds.
 */
export async function projectDocument(
  { db, mutex, log, settings, lockTimeoutMs }: ProjectOptions,
  document: LiveDocument,
  taken: () => void = () => undefined,
): Promise<number> {
  const { data, seq, revision } = await document.project(taken);
  const json = JSON.stringify(data);
  const size = Buffer.byteLength(json);
  // Every projection that finds the counter of its space free holds it until its commit. Side by side the others would have no number at once.
  let took = 0;
  const inSpace = <T>(work: () => Promise<T>) => mutex.run(document.key.spaceId, work);
  // What somebody is known to have locked is waited for apart, or all others of the space would wait with it.
  const inTurn = lockTimeoutMs > defaultPatienceMs ? <T>(work: () => Promise<T>) => work() : inSpace;
  const [row] = await inTurn(async () => {
    const unlock = document.locked();
    const began = performance.now();
    try {
      const params = [...address(document.key), seq, json, size, lockTimeoutMs, revision];
      return await db.query<ProjectedRow>(projectSql, params, { prepare: true });
    } finally {
      unlock();
      took = performance.now() - began;
    }
  });
  // Deleted meanwhile, or the database went back: if it is still to be projected, it is on the queue.
  if (!row) return took;
  const cost = took - row.waited_ms;
  document.projected(size, { updates: row.tail_count, bytes: row.tail_bytes });
  if (!shouldFold({ count: row.tail_count, bytes: row.tail_bytes }, document.snapshotBytes, settings)) return cost;
  try {
    await foldDocument(db, document);
  } catch (error) {
    log.warn({ err: error, document: document.id }, "folding the tail failed; the next projection tries again");
  }
  return cost;
}

/** Stores a snapshot that covers the present position. Out: false when somebody else has stored a newer one. */
export async function foldDocument(db: Queryable, document: LiveDocument): Promise<boolean> {
  const { snapshot, version, seq, revision } = await document.snapshot();
  const [row] = await db.query<{ folded: boolean }>(foldSql, [
    ...address(document.key),
    snapshot,
    seq,
    foldLockTimeoutMs,
    version,
    revision,
  ]);
  const folded = row?.folded ?? false;
  if (folded) document.folded();
  return folded;
}

function address({ spaceId, appId, tableName, recordId }: DocumentKey): string[] {
  return [spaceId, appId, tableName, recordId];
}
