import { isPerchErrorCode, PerchError } from "../../errors.js";
import { authorName, writableFor } from "./authors.js";
import type { Appendable, CommitBatch, GroupCommit } from "./group-commit.js";
import { type AppendedUpdate, type EntryResult, newRevision } from "./queries.js";
import { type Append, type DocumentState, discard, putBack } from "./state.js";

/** Of one document, in one transaction. */
const maxBatchUpdates = 500;
const maxBatchBytes = 2 ** 20;

export interface CommitQueueParts {
  readonly groupCommit: GroupCommit;
  /** Whoever waits for a refresh that has not begun; a completed append is as good as one. */
  takeAsking(): (() => void)[];
  giveAsking(asking: (() => void)[]): void;
}

export interface CommitQueue extends Appendable {
  /** It is in the engine's copy; it goes on from there by itself. */
  stage(append: Append): void;
}

/** The second part of the way of appends: from the engine's copy through a transaction to the readers, and to the writer's acknowledgement. */
export function createCommitQueue(state: DocumentState, parts: CommitQueueParts): CommitQueue {
  const { groupCommit } = parts;
  const { spaceId } = state.key;
  /** Authors that the database let write here; see `takeBatch`. */
  const trusted = new Set<string>();

  function stage(append: Append): void {
    if (append.known && state.ready.length === 0 && !state.storing) {
      append.resolve({ seq: state.at.seq });
      return;
    }
    state.ready.push(append);
    if (!state.storing) groupCommit.wake(appends);
  }

  /**
   * Two authors share a transaction only when both were let in before. Otherwise one could be refused and the other, whose update may
   * stand on the refused one, be stored without what it depends on. Of one author all are let in, or none.
   */
  function takeBatch(): CommitBatch | undefined {
    if (state.storing || state.busy || state.locked > 0) return undefined;
    const appends: Append[] = [];
    const updates: AppendedUpdate[] = [];
    let bytes = 0;
    let author: string | undefined;
    for (const append of state.ready) {
      const writable = writableFor(append.author, spaceId);
      if (!append.known) {
        const name = authorName(append.author, spaceId, writable);
        if (updates.length > 0 && (updates.length >= maxBatchUpdates || bytes >= maxBatchBytes)) break;
        author ??= name;
        if (name !== author && !(trusted.has(name) && trusted.has(author))) break;
        const { userId, clientId = null } = append.author;
        const last = append.updates.length - 1;
        for (const [index, payload] of append.updates.entries()) {
          bytes += payload.byteLength;
          // The engine took them as one, so its answer counts from the last on.
          updates.push({ payload, writable, userId, clientId, ends: index === last ? append.ends : null });
        }
      }
      appends.push(append);
    }
    state.ready = state.ready.slice(appends.length);
    if (updates.length === 0) {
      // All of them were known, and what they may stand on has been committed. What waited for them to be gone can begin.
      for (const append of appends) append.resolve({ seq: state.at.seq });
      state.pump();
      return undefined;
    }
    state.storing = true;
    const entry = { key: state.key, after: state.at, revision: newRevision(), updates };
    return { entry, appends, bytes, notifications: state.notifications.begin(), asking: parts.takeAsking() };
  }

  function giveBack(batch: CommitBatch): void {
    state.ready = [...batch.appends, ...state.ready];
    state.notifications.failed(batch.notifications);
    parts.giveAsking(batch.asking);
    state.storing = false;
    state.pump();
  }

  function failed(batch: CommitBatch, error: unknown): void {
    for (const append of batch.appends) {
      if (append.known) putBack(state.waiting, [append]);
      else append.reject(error);
    }
    discard(state);
    state.notifications.failed(batch.notifications);
    parts.giveAsking(batch.asking);
    state.storing = false;
    state.pump();
  }

  async function stored(batch: CommitBatch, result: EntryResult): Promise<void> {
    const { accepted, refused, again, isStale, partly } = sorted(batch, result);
    if (isStale) return stale(batch);
    for (const { append, code } of refused) {
      trusted.delete(authorName(append.author, spaceId));
      append.reject(refusal(code));
    }
    // What is tried again must not be found in the copy: it would be taken for known, and acknowledged.
    if (refused.length > 0 || again.length > 0) discard(state);
    const last = accepted.at(-1);
    const complete = last !== undefined && !partly;
    for (const { append } of accepted) trusted.add(authorName(append.author, spaceId));
    if (complete) {
      await deliver(result, accepted);
      state.at = { seq: last.seq, revision: batch.entry.revision };
      state.notifications.committed(last.seq);
    } else if (last) {
      state.replica.unload();
      state.behind = true;
    }
    state.storing = false;
    for (const { append, seq } of accepted) append.resolve({ seq, forked: append.forked });
    putBack(state.waiting, again);
    for (const append of batch.appends) {
      if (!append.known) continue;
      if (refused.length > 0) putBack(state.waiting, [append]);
      else append.resolve({ seq: state.at.seq });
    }
    if (complete) {
      state.notifications.end(batch.notifications, state.at.seq);
      for (const asked of batch.asking) asked();
      state.moved(true);
    } else {
      state.notifications.failed(batch.notifications);
      parts.giveAsking(batch.asking);
    }
    state.pump();
  }

  /** Readers get what others appended first, since it is before ours; the copy has ours already. */
  async function deliver(result: EntryResult, accepted: readonly Accepted[]): Promise<void> {
    const { missed } = result;
    const lastMissed = missed.at(-1);
    if (lastMissed) {
      const updates = missed.map((update) => update.payload);
      await state.replica.follow(updates);
      for (const { seq } of missed) state.notifications.saw(seq);
      state.subscribers.deliver({ updates, seq: lastMissed.seq, origin: undefined });
    }
    for (const { append, seqs, seq } of accepted) {
      for (const own of seqs) state.notifications.saw(own);
      state.subscribers.deliver({ updates: append.updates, seq, origin: append.origin });
    }
  }

  /**
   * The database does not have what these build on, or not for certain. What became of it is told by the load that follows: it ends the document for
   * its writers and readers, and these with it, or has them tried again.
   */
  function stale(batch: CommitBatch): void {
    putBack(state.waiting, batch.appends);
    discard(state);
    state.notifications.failed(batch.notifications);
    parts.giveAsking(batch.asking);
    state.storing = false;
    state.behind = true;
    state.pump();
  }

  function sorted(batch: CommitBatch, { results }: EntryResult) {
    const accepted: Accepted[] = [];
    const refused: Refused[] = [];
    const again: Append[] = [];
    let isStale = false;
    let partly = false;
    let at = 0;
    for (const append of batch.appends) {
      if (append.known) continue;
      const own = results.slice(at, at + append.updates.length);
      at += append.updates.length;
      const seqs = own.flatMap((result) => ("seq" in result ? [result.seq] : []));
      const code = own.flatMap((result) => ("refused" in result ? [result.refused] : []))[0];
      const seq = seqs.at(-1);
      if (code === "PE410") isStale = true;
      if (code === undefined && seq !== undefined) accepted.push({ append, seqs, seq });
      else if (code === undefined && own.some((result) => "again" in result)) again.push(append);
      else {
        refused.push({ append, code: code ?? "PE422" });
        if (seq !== undefined) partly = true;
      }
    }
    return { accepted, refused, again, isStale, partly };
  }

  const appends: CommitQueue = { stage, takeBatch, giveBack, failed, stored };
  return appends;
}

interface Accepted {
  readonly append: Append;
  readonly seqs: readonly number[];
  readonly seq: number;
}

interface Refused {
  readonly append: Append;
  readonly code: string;
}

const reasons: Record<string, string> = {
  PE401: "the update has no author",
  PE403: "this user may not write this space",
  PE413: "the update is over the limit of the database (max_update_bytes)",
};

function refusal(code: string): PerchError {
  const known = isPerchErrorCode(code) ? code : "PE422";
  const detail = code === "PE413" ? { limit: "max_update_bytes" } : null;
  return new PerchError(known, reasons[code] ?? "the database refused the update", detail);
}
