import type { Transaction } from "../database/types.js";
import type { DocumentKey } from "../documents/key.js";
import type { Ends, PatchBase } from "../documents/loro/api.js";
import { PerchError } from "../errors.js";

export interface OwnPush {
  readonly seq: number;
  readonly userId: string;
  readonly ends: Ends | null;
}

export interface BaseRequest {
  readonly key: DocumentKey;
  readonly baseSeq: number;
  readonly userId: string;
  /** Pushes of the same transaction that are merged, but not in the tail yet. */
  readonly merged: readonly OwnPush[];
}

/*
 * A position is learnt in one of two ways. Whoever reads a document is told the position of the last update they were given: what
 * they saw is the tail up to there. Whoever pushes is told the position of the push; the update goes to the tail later, at another
 * position, and this number names no update in the tail. They then know the tail up to it and, besides, all that they have pushed
 * themselves. Base of a patch is what its author knew: too little, and their own words would be taken for new ones and come
 * twice; too much, and edits of others that they never saw would be taken for deleted.
 */
const sql = `
  select d.life_seq, d.tail_from,
         perch.document_version(k.space_id, k.app_id, k.table_name, k.record_id, at_seq => $5::bigint) as version,
         $5::bigint in (d.life_seq, d.tail_from) or exists (
           select from perch.document_updates u
            where u.space_id = d.space_id and u.app_id = d.app_id and u.table_name = d.table_name and u.record_id = d.record_id
              and u.seq = $5::bigint) as was_read,
         array(
           select u.ends from perch.document_updates u
            where u.space_id = d.space_id and u.app_id = d.app_id and u.table_name = d.table_name and u.record_id = d.record_id
              and u.pushed_seq <= $5::bigint and u.user_id = $6 and u.ends is not null) as own
    from (values ($1::text, $2::text, $3::text, $4::text)) k (space_id, app_id, table_name, record_id)
    join perch.documents d
      on d.space_id = k.space_id and d.app_id = k.app_id and d.table_name = k.table_name and d.record_id = k.record_id`;

interface BaseRow {
  life_seq: number;
  tail_from: number;
  version: Ends;
  was_read: boolean;
  own: Ends[];
}

/**
 * The version a patch was based on, from the position its author gave.
 * Errors: PE410 when the position is older than the retained tail, or of an earlier life of the document.
 */
export async function patchBase(tx: Transaction, request: BaseRequest): Promise<PatchBase> {
  const { key, baseSeq, userId, merged } = request;
  const [row] = await tx.query<BaseRow>(sql, [key.spaceId, key.appId, key.tableName, key.recordId, baseSeq, userId]);
  if (!row) throw expired(key, baseSeq, null);
  if (baseSeq === row.life_seq) return { ends: {} };
  if (baseSeq < row.tail_from) throw expired(key, baseSeq, row.tail_from);
  if (row.was_read) return { ends: row.version };
  const mine = merged.filter((push) => push.userId === userId && push.seq <= baseSeq);
  return { ends: union([row.version, ...row.own, ...mine.map(({ ends }) => ends ?? {})]) };
}

function union(versions: readonly Ends[]): Ends {
  const ends: Record<string, number> = {};
  for (const version of versions) {
    for (const [peer, end] of Object.entries(version)) ends[peer] = Math.max(end, ends[peer] ?? 0);
  }
  return ends;
}

function expired(key: DocumentKey, baseSeq: number, oldestSeq: number | null): PerchError {
  return new PerchError("PE410", `base_seq ${baseSeq} is older than what is kept of this document; read it again`, {
    spaces: [{ space_id: key.spaceId, reason: "expired", oldest_seq: oldestSeq, latest_seq: null }],
    base_seq: baseSeq,
  });
}
