import { isPerchErrorCode, PerchError } from "../../errors.js";
import { writableBy } from "../../identity/identity.js";
import type { CatchUp } from "./catch-up.js";
import type { Appendable, CommitBatch } from "./group-commit.js";
import { type Append, authorName, discard, fallBehind, type OpenDocument, putBack } from "./open-document.js";
import { type AppendedUpdate, type EntryResult, newRevision } from "./queries.js";
import { isReading, mayCommit } from "./states.js";

/** Of one document, in one transaction. */
const maxBatchUpdates = 500;
const maxBatchBytes = 2 ** 20;
/** When so many have failed one after another, it is not for what they are: what follows fails together. */
const maxFailures = 3;

export interface CommitQueue extends Appendable {
  /** It is in the replica, and waits for its commit; the document's state is to be told. */
  stage(append: Append): void;
}

/** The second part of the way of appends: from the replica through a transaction to the readers, and to the writer's acknowledgement. */
export function createCommitQueue(open: OpenDocument, catchUp: CatchUp): CommitQueue {
  const { key, notifications, subscribers } = open;
  const { spaceId } = key;
  /** Authors that the database let write here; see `takeBatch`. */
  const trusted = new Set<string>();
  /** Appends that go into the next transaction: fewer after one failed with all of them. */
  let atMost = Number.POSITIVE_INFINITY;
  let failures = 0;

  function stage(append: Append): void {
    if (append.known && open.staged.length === 0 && !isReading(open.state)) append.resolve({ seq: open.at.seq });
    else open.staged.push(append);
  }

  /**
   * Two authors share a transaction only when both were let in before. Otherwise one could be refused and the other, whose update may
   * stand on the refused one, be stored without what it depends on. Of one author all are let in, or none.
   */
  function takeBatch(): CommitBatch | undefined {
    if (!mayCommit(open.state, open.waits())) return undefined;
    const appends: Append[] = [];
    const updates: AppendedUpdate[] = [];
    let bytes = 0;
    let author: string | undefined;
    for (const append of open.staged) {
      if (appends.length >= atMost) break;
      const writable = writableBy(append.author, spaceId);
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
    open.staged = open.staged.slice(appends.length);
    if (updates.length === 0) {
      // All of them were known, and what they may stand on has been committed. What waited for them to be gone can begin.
      for (const append of appends) append.resolve({ seq: open.at.seq });
      open.tell({ is: "waits" });
      return undefined;
    }
    open.tell({ is: "commit begun" });
    const entry = { key, after: open.at, revision: newRevision(), updates };
    return { entry, appends, bytes, notifications: notifications.begin(), asking: catchUp.takeAsking() };
  }

  function giveBack(batch: CommitBatch): void {
    open.staged = [...batch.appends, ...open.staged];
    notifications.failed(batch.notifications);
    catchUp.giveAsking(batch.asking);
    open.tell({ is: "moved" });
  }

  /** The first half, and so on down to one append, whose failure it then is; what does not stand on that one is stored. */
  function part(batch: CommitBatch): boolean {
    if (batch.appends.length === 1 || failures >= maxFailures) return false;
    atMost = Math.ceil(batch.appends.length / 2);
    giveBack(batch);
    return true;
  }

  function failed(batch: CommitBatch, error: unknown): void {
    atMost = Number.POSITIVE_INFINITY;
    failures += 1;
    putBack(
      open,
      batch.appends.filter((append) => append.known),
    );
    for (const append of batch.appends) if (!append.known) append.reject(error);
    discard(open);
    notifications.failed(batch.notifications);
    catchUp.giveAsking(batch.asking);
    open.tell({ is: "moved" });
  }

  async function stored(batch: CommitBatch, result: EntryResult): Promise<void> {
    atMost = Number.POSITIVE_INFINITY;
    failures = 0;
    const { accepted, refused, again, isStale, partly } = sorted(batch, result);
    if (isStale) return stale(batch);
    for (const { append, code } of refused) {
      trusted.delete(authorName(append.author, spaceId));
      append.reject(refusal(code));
    }
    // What is tried again must not be found in the replica: it would be taken for known, and acknowledged.
    if (refused.length > 0 || again.length > 0) discard(open);
    const last = accepted.at(-1);
    const complete = last !== undefined && !partly;
    for (const { append } of accepted) trusted.add(authorName(append.author, spaceId));
    if (complete) {
      await deliver(result, accepted);
      open.at = { seq: last.seq, revision: batch.entry.revision };
      notifications.committed(last.seq);
    } else if (last) fallBehind(open);
    for (const { append, seq } of accepted) append.resolve({ seq, forked: append.forked });
    const known = batch.appends.filter((append) => append.known);
    putBack(open, refused.length > 0 ? [...again, ...known] : again);
    if (refused.length === 0) for (const append of known) append.resolve({ seq: open.at.seq });
    if (complete) {
      notifications.end(batch.notifications, open.at.seq);
      for (const asked of batch.asking) asked();
      open.moved(true);
    } else {
      notifications.failed(batch.notifications);
      catchUp.giveAsking(batch.asking);
    }
    open.tell({ is: "moved" });
  }

  /** Readers get what others appended first, since it is before ours; the replica has ours already. */
  async function deliver(result: EntryResult, accepted: readonly Accepted[]): Promise<void> {
    const { missed } = result;
    const lastMissed = missed.at(-1);
    if (lastMissed) {
      const updates = missed.map((update) => update.payload);
      await open.replica.follow(updates);
      for (const { seq } of missed) notifications.saw(seq);
      subscribers.deliver({ updates, seq: lastMissed.seq, origin: undefined });
    }
    for (const { append, seqs, seq } of accepted) {
      for (const own of seqs) notifications.saw(own);
      subscribers.deliver({ updates: append.updates, seq, origin: append.origin });
    }
  }

  /**
   * The database does not have what these build on, or not for certain. What became of it is told by the load that follows: it ends the document for
   * its writers and readers, and these with it, or has them tried again.
   */
  function stale(batch: CommitBatch): void {
    putBack(open, batch.appends);
    discard(open);
    notifications.failed(batch.notifications);
    catchUp.giveAsking(batch.asking);
    open.tell({ is: "fell behind" });
    open.tell({ is: "moved" });
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

  return { stage, takeBatch, giveBack, part, failed, stored };
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
  PE404: "the row that the document is in is not there",
  PE413: "the update is over the limit of the database (max_update_bytes)",
};

function refusal(code: string): PerchError {
  const known = isPerchErrorCode(code) ? code : "PE422";
  const detail = code === "PE413" ? { limit: "max_update_bytes" } : null;
  return new PerchError(known, reasons[code] ?? "the database refused the update", detail);
}
