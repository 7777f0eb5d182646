import type { Queryable } from "../../database/types.js";
import { failureOf } from "./failures.js";
import { createNotifyBatcher } from "./notify-batcher.js";
import type { Append } from "./open-document.js";
import { type AppendEntry, type Appended, appendEntries, type EntryResult } from "./queries.js";

/** What one document puts into a transaction. */
export interface CommitBatch {
  readonly entry: AppendEntry;
  readonly appends: readonly Append[];
  readonly bytes: number;
  /** Notifications and requests for a refresh that this batch answers. */
  readonly notifications: readonly number[];
  readonly asking: (() => void)[];
}

/** A document with appends that wait for a transaction. Of each batch taken, exactly one of the others is called until one says that it is over. */
export interface Appendable {
  /** Out: undefined when there is nothing to send now. */
  takeBatch(): CommitBatch | undefined;
  stored(batch: CommitBatch, result: EntryResult): Promise<void>;
  /** Nothing of it was stored, or nobody knows. */
  failed(batch: CommitBatch, error: unknown): void;
  /** Nothing of it was stored; it will be taken again. */
  giveBack(batch: CommitBatch): void;
  /** Nothing of it was stored, perhaps because of a part of it. Out: whether it will be taken again, by parts. */
  part(batch: CommitBatch): boolean;
}

export interface GroupCommitOptions {
  /** How long a shared transaction waits for the lock of a document before its documents go on each by itself. Default 100. */
  patienceMs?: number;
  /** How long a document's own transaction waits for its lock at a time. Default 2,000. */
  ownPatienceMs?: number;
  /** How long an append is tried in all while others hold the lock of its document. Default 30,000. */
  giveUpMs?: number;
}

export interface GroupCommit {
  /** The document has something to append. */
  wake(document: Appendable): void;
  /** Notifies of what was appended without a notification. */
  close(): Promise<void>;
}

/** Documents with a transaction of their own at a time. */
const ownLanes = 3;
/** What a document brings at a time goes by itself from so much on: storing it takes longer than a letter's writer ought to notice. */
const largeBytes = 64 * 1024;
/** One transaction, over all documents. */
const maxUpdates = 2_000;
const maxBytes = 8 * 2 ** 20;

/**
 * Group commit: while one transaction is under way, everything else collects and then goes as one statement over all documents. The
 * statement locks its documents in the order of their keys, so that the transactions of several nodes cannot deadlock.
 *
 * Nobody pays for his neighbour. What is large goes in transactions of its own, beside the shared one, one at a time. And when the shared transaction fails as a whole (one document's row is locked by somebody's long
 * transaction, say, or the database chokes on one update, or on a notification: its queue of notifications can be full), each of its documents
 * goes on in a transaction of its own, which notifies nobody, beside the shared one, until that succeeds. A failure of such a transaction
 * is the document's own; and as it may be that of one of its authors, it is tried again by parts.
 */
export function createGroupCommit(db: Queryable, options: GroupCommitOptions = {}): GroupCommit {
  const patienceMs = options.patienceMs ?? 100;
  const ownPatienceMs = options.ownPatienceMs ?? 2_000;
  const giveUpMs = options.giveUpMs ?? 30_000;
  const notifyBatcher = createNotifyBatcher(db);
  const shared = new Set<Appendable>();
  const own = new Set<Appendable>();
  /** Documents that go by themselves. */
  const apart = new WeakSet<Appendable>();
  /** Since when the first of a batch has been tried in a transaction of its own: its own time, whatever became of others of the document. */
  const tried = new WeakMap<Append, number>();
  /** Taken, and waiting for its turn to go by itself. */
  const large: [Appendable, CommitBatch][] = [];
  let sharedBusy = false;
  let largeBusy = false;
  let ownBusy = 0;
  let scheduled = false;

  function wake(document: Appendable): void {
    (apart.has(document) ? own : shared).add(document);
    if (!sharedBusy || own.size > 0) nextSoon();
  }

  /** Not at once: what has arrived already, and stands behind this in the event loop, comes along. */
  function nextSoon(): void {
    if (scheduled) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      next();
    });
  }

  function next(): void {
    if (!sharedBusy && shared.size > 0) void sendShared();
    while (ownBusy < ownLanes && own.size > 0) {
      const [document] = own;
      if (!document) break;
      own.delete(document);
      const batch = document.takeBatch();
      if (batch) void sendOwn(document, batch);
    }
  }

  /** In one transaction. In: what it notifies of besides; false: it has others notify for it. Errors: as `appendEntries`. */
  async function append(
    entries: readonly AppendEntry[],
    lockTimeoutMs: number,
    notify: readonly Appended[] | false,
  ): Promise<EntryResult[]> {
    try {
      const results = await appendEntries(db, entries, lockTimeoutMs, notify);
      if (notify) notifyBatcher.carried(true);
      else notifyBatcher.owe(entries.flatMap((entry, index) => appendedBy(entry, results[index])));
      return results;
    } catch (error) {
      if (notify) notifyBatcher.carried(false);
      // A notification of nothing does no harm.
      if (failureOf(error) === "unknown") notifyBatcher.owe(entries.map(mayHaveAppended));
      throw error;
    }
  }

  async function sendShared(): Promise<void> {
    const sent: [Appendable, CommitBatch][] = [];
    let updates = 0;
    let bytes = 0;
    for (const document of shared) {
      if (updates >= maxUpdates || bytes >= maxBytes) break;
      shared.delete(document);
      const batch = document.takeBatch();
      if (!batch) continue;
      if (batch.bytes >= largeBytes) {
        large.push([document, batch]);
        continue;
      }
      sent.push([document, batch]);
      updates += batch.entry.updates.length;
      bytes += batch.bytes;
    }
    void sendLarge();
    if (sent.length === 0) return;
    sharedBusy = true;
    let results: EntryResult[] | undefined;
    let failure: unknown;
    const notify = notifyBatcher.carry();
    try {
      const entries = sent.map(([, batch]) => batch.entry);
      results = await append(entries, patienceMs, notify);
    } catch (error) {
      failure = error;
    }
    sharedBusy = false;
    nextSoon();
    const kind = results ? undefined : failureOf(failure);
    for (const [index, [document, batch]] of sent.entries()) {
      const result = results?.[index];
      if (result) void document.stored(batch, result);
      else if (kind === "contended" || (kind === "undone" && (sent.length > 1 || notify || batch.appends.length > 1))) {
        apart.add(document);
        document.giveBack(batch);
      } else document.failed(batch, failure);
    }
  }

  async function sendLarge(): Promise<void> {
    if (largeBusy) return;
    largeBusy = true;
    for (let next = large.shift(); next; next = large.shift()) {
      const [document, batch] = next;
      apart.add(document);
      await sendOwn(document, batch);
    }
    largeBusy = false;
  }

  async function sendOwn(document: Appendable, batch: CommitBatch): Promise<void> {
    ownBusy++;
    const [first] = batch.appends;
    const since = (first && tried.get(first)) ?? Date.now();
    if (first) tried.set(first, since);
    try {
      // It may wait long, and should fail for nothing but itself.
      const [result] = await append([batch.entry], ownPatienceMs, false);
      if (!result) throw new Error("perch.append_updates gave no result");
      apart.delete(document);
      void document.stored(batch, result);
    } catch (error) {
      const kind = failureOf(error);
      if (kind === "contended" && Date.now() - since < giveUpMs) document.giveBack(batch);
      else if (kind !== "undone" || !document.part(batch)) {
        apart.delete(document);
        document.failed(batch, error);
      }
    } finally {
      ownBusy--;
      next();
    }
  }

  return { wake, close: () => notifyBatcher.close() };
}

/** The position an entry took its document to. */
function appendedBy({ key }: AppendEntry, result: EntryResult | undefined): Appended[] {
  const seqs = (result?.results ?? []).flatMap((one) => ("seq" in one ? [one.seq] : []));
  return seqs.slice(-1).map((seq) => ({ key, seq }));
}

const mayHaveAppended = ({ key, after, updates }: AppendEntry): Appended => ({
  key,
  seq: after.seq + updates.length,
});
