import type { Transaction } from "../database/types.js";
import { PerchError } from "../errors.js";
import type { DocumentKey } from "./key.js";
import type { Ends, PatchBase } from "./loro/api.js";

export interface MergedPush {
  readonly seq: number;
  readonly userId: string;
  readonly ends: Ends | null;
}

export interface BaseRequest {
  readonly key: DocumentKey;
  /** The position the patch itself was given when it was pushed. */
  readonly seq: number;
  readonly baseSeq: number | null;
  /** What identifies `baseSeq`, where its author said so and it was not compared when it was pushed. */
  readonly baseRevision?: number | undefined;
  readonly userId: string;
  /** Pushes of the same transaction that are merged, but not in the tail yet. */
  readonly merged: readonly MergedPush[];
}

/*
 * The base of a patch is what its author knew. Too little, and their own words would be taken for new ones and come twice; too much,
 * and edits of others that they never saw would be taken for deleted.
 *
 * A position is learnt in one of two ways. Whoever reads a document is told the position of the last update they were given: what
 * they saw is the tail up to there. Whoever pushes is told the position of the push; the update goes to the tail later, at another
 * position, and this number names no update in the tail. They then know the tail up to it and, besides, all that they have pushed
 * themselves.
 *
 * A patch without a base is made on everything that was pushed or appended before it, whoever did: of two such patches the later one
 * wins, and what Loro clients wrote after it was pushed, while it waited here, is kept.
 */
const baseSql = `
  select * from perch.patch_base(space_id => $1, app_id => $2, table_name => $3, record_id => $4,
                                 base_seq => $5, user_id => $6, base_revision => $7)`;

const overtakenSql = `
  select perch.is_overtaken(space_id => $1, app_id => $2, table_name => $3, record_id => $4, seq => $5) as overtaken`;

interface BaseRow {
  incarnation_seq: number;
  tail_from: number;
  merged_seq: number;
  leads_on: boolean | null;
  version: Ends;
  was_read: boolean;
  pushed: Ends[];
}

/**
 * The version a patch was based on, from the position its author gave, or from when it was pushed.
 * Errors: PE410 when the position is older than the retained tail, or of an earlier incarnation of the document.
 */
export async function patchBase(tx: Transaction, request: BaseRequest): Promise<PatchBase> {
  const { key, seq, baseSeq, baseRevision, userId, merged } = request;
  const address = [key.spaceId, key.appId, key.tableName, key.recordId];
  if (baseSeq === null) {
    const [found] = await tx.query<{ overtaken: boolean }>(overtakenSql, [...address, seq]);
    if (!found?.overtaken) return "head";
    const [row] = await tx.query<BaseRow>(baseSql, [...address, seq - 1, null, null]);
    // Folded meanwhile: what came before and after it can no longer be told apart.
    if (!row || seq - 1 < row.tail_from) return "head";
    // What was pushed before it may have been merged with what came after it (loro/rebase.ts), which its author cannot have seen.
    return { ends: union([row.version, ...row.pushed, ...endsOf(merged)]), orElse: row.version };
  }
  const [row] = await tx.query<BaseRow>(baseSql, [...address, baseSeq, userId, baseRevision ?? null]);
  if (!row) throw expired(key, baseSeq, null);
  if (baseRevision !== undefined && row.leads_on === false) throw gone(key, baseSeq, row.merged_seq);
  if (baseSeq === row.incarnation_seq) return { ends: {} };
  if (baseSeq < row.tail_from) throw expired(key, baseSeq, row.tail_from);
  if (row.was_read) return { ends: row.version };
  const own = merged.filter((push) => push.userId === userId && push.seq <= baseSeq);
  return { ends: union([row.version, ...row.pushed, ...endsOf(own)]) };
}

function endsOf(pushes: readonly MergedPush[]): Ends[] {
  return pushes.map(({ ends }) => ends ?? {});
}

/** For each peer the greater counter. */
export function union(versions: readonly Ends[]): Ends {
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

function gone(key: DocumentKey, baseSeq: number, latestSeq: number): PerchError {
  const why = "it was deleted, or the database went back to an earlier state; read it again";
  return new PerchError("PE410", `the document has nothing of the kind at base_seq ${baseSeq}: ${why}`, {
    spaces: [
      {
        space_id: key.spaceId,
        reason: baseSeq > latestSeq ? "ahead" : "epoch",
        oldest_seq: null,
        latest_seq: latestSeq,
      },
    ],
    base_seq: baseSeq,
  });
}
