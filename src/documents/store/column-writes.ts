import type { Transaction } from "../../database/types.js";
import type { Ends } from "../loro/api.js";
import { union } from "../patch-base.js";
import { hasWritten, type OpenedDocument } from "./open-for-write.js";
import { asWorker } from "./worker-role.js";
import { parts } from "./writing.js";

const claimSql = `
  select * from perch.claim_column_writes(space_id => $1, app_id => $2, table_name => $3, record_id => $4, patience_ms => $5)`;

const finishSql = `
  select perch.finish_column_write(space_id => $1, app_id => $2, table_name => $3, record_id => $4, ordinal => $5,
                                   update => $6, ends => $7::jsonb, version => $8::jsonb)`;

/** A worker that waits for the document, which the store has, gives up sooner. */
const patienceMs = 5_000;

interface WriteRow {
  ordinal: number;
  patch: string | null;
  base: Ends;
}

/**
 * Merges what plain statements wrote to the columns of a document, as a worker would, in the transaction of a store that is about to write
 * it: a document of a row that was never one begins so. All of it, before the caller is shown anything: what it then asks for is based on
 * that. Nothing more comes while the transaction lasts, which has the row locked.
 * In: `patch` applies one to the store's replica. Out: whether there was any; the replica is then ahead of what the store knows.
 */
export async function mergeColumnWrites(
  tx: Transaction,
  { key }: OpenedDocument,
  patch: (patch: string, base: Ends) => Promise<{ update: Uint8Array | null; ends: Ends }>,
): Promise<boolean> {
  const rows = await asWorker(tx, () => tx.query<WriteRow>(claimSql, [...parts(key), patienceMs]));
  let version: Ends = {};
  for (const { ordinal, patch: text, base: shown } of rows) {
    // The row was deleted: whoever locked it sees that by itself.
    if (text === null) break;
    const base = union([shown, version]);
    const { update, ends } = await patch(text, base);
    version = union([base, ends]);
    const params = [...parts(key), ordinal, update, JSON.stringify(ends), JSON.stringify(version)];
    await asWorker(tx, () => tx.query(finishSql, params));
    hasWritten(tx);
  }
  return rows.length > 0;
}
