import type { Queryable } from "../database/types.js";
import type { DocumentKey } from "../documents/key.js";
import type { LiveDocument } from "../documents/live.js";
import type { Recorder } from "./recorder.js";
import { lockTimeoutMs, shouldFold, type WorkerSettings } from "./settings.js";
import type { WorkerLog } from "./worker.js";

export interface ProjectOptions {
  readonly db: Queryable;
  readonly recorder: Recorder;
  readonly log: WorkerLog;
  readonly settings: WorkerSettings;
}

// Locks are waited for as long as in `claimSql` of the inbox, and for the same reason.
const foldSql = `
  with patience as materialized (select set_config('lock_timeout', $7, true) as set)
  select perch.fold_document(space_id => $1, app_id => $2, table_name => $3, record_id => $4, snapshot => $5,
                             seq => case when patience.set is not null then $6::bigint end, version => $8) as folded
    from patience`;

/**
 * Writes the document's present JSON to its record, and folds its tail when that has grown long. `taken` is called when what is
 * written is determined: edits from then on are not in it.
 * Out: when both are committed. A failed fold is logged only, since the projection stands and the next one folds.
 */
export async function projectDocument(
  { db, recorder, log, settings }: ProjectOptions,
  document: LiveDocument,
  taken: () => void = () => undefined,
): Promise<void> {
  const { data, seq } = await document.project(taken);
  const json = JSON.stringify(data);
  const size = Buffer.byteLength(json);
  const recorded = await recorder.record({ document, seq, json, size });
  if (!recorded) return;
  const { tail } = recorded;
  document.projected(size, { updates: tail.count, bytes: tail.bytes });
  if (!shouldFold(tail, document.snapshotBytes, settings)) return;
  try {
    await foldDocument(db, document);
  } catch (error) {
    log.warn({ err: error, document: document.id }, "folding the tail failed; the next projection tries again");
  }
}

/** Stores a snapshot that covers the present position. Out: false when somebody else has stored a newer one. */
export async function foldDocument(db: Queryable, document: LiveDocument): Promise<boolean> {
  const { snapshot, version, seq } = await document.snapshot();
  const [row] = await db.query<{ folded: boolean }>(foldSql, [
    ...address(document.key),
    snapshot,
    seq,
    lockTimeoutMs,
    version,
  ]);
  const folded = row?.folded ?? false;
  if (folded) document.folded();
  return folded;
}

function address({ spaceId, appId, tableName, recordId }: DocumentKey): string[] {
  return [spaceId, appId, tableName, recordId];
}
