import type { Queryable } from "../../database/types.js";
import { PerchError } from "../../errors.js";
import type { DocumentKey } from "../key.js";
import { isLost } from "../loro/lost.js";
import type { StoredDocument, StoredUpdate } from "./queries.js";

/** What was taken out of a document's tail, because it does not hold together with what is before it. */
export interface BrokenTail {
  /** The last position that holds. */
  readonly after: number;
  readonly updates: number;
  readonly error: unknown;
}

/**
 * Whether loading failed because of what is stored: an update does not decode, or lacks what it builds on. A thread that was lost under it,
 * or a limit, says nothing of the kind.
 */
export function isBroken(error: unknown): boolean {
  if (!(error instanceof PerchError) || error.code !== "PE422" || isLost(error)) return false;
  const { reason } = (error.detail ?? {}) as { reason?: unknown };
  return reason !== "trapped" && reason !== "timed out" && reason !== "lost";
}

/**
 * The longest beginning of what is stored that loads, by bisection; it is loaded then. Errors: what loading throws, also where the
 * snapshot by itself does not load.
 */
export async function holding<Stored extends StoredDocument>(
  stored: Stored,
  load: (part: Stored) => Promise<unknown>,
): Promise<Stored> {
  const part = (count: number): Stored => {
    const updates = stored.updates.slice(0, count);
    const at = updates.at(-1) ?? { seq: beforeTail(stored), revision: stored.snapshotRevision };
    return { ...stored, updates, headSeq: at.seq, headRevision: at.revision };
  };
  let holds = 0;
  let breaks = stored.updates.length;
  await load(part(0));
  while (breaks - holds > 1) {
    const middle = Math.floor((holds + breaks) / 2);
    try {
      await load(part(middle));
      holds = middle;
    } catch (error) {
      if (!isBroken(error)) throw error;
      breaks = middle;
    }
  }
  await load(part(holds));
  return part(holds);
}

const beforeTail = ({ snapshot, snapshotSeq, incarnationSeq }: StoredDocument) =>
  snapshot === null ? incarnationSeq : snapshotSeq;

/** Takes what is behind a position out of the tail; see `perch.set_tail_aside`. In: a connection with the rights of perch_worker. */
export async function setTailAside(
  db: Queryable,
  key: DocumentKey,
  after: number,
  first: StoredUpdate,
): Promise<number> {
  const [row] = await db.query<{ moved: number }>(
    `select perch.set_tail_aside(space_id => $1, app_id => $2, table_name => $3, record_id => $4, after_seq => $5,
                                 first_seq => $6, first_revision => $7) as moved`,
    [key.spaceId, key.appId, key.tableName, key.recordId, after, first.seq, first.revision],
  );
  return row?.moved ?? 0;
}
