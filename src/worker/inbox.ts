import type { Contention } from "../database/contention.js";
import { storable } from "../database/text.js";
import type { Database, Transaction } from "../database/types.js";
import { type DocumentKey, documentId } from "../documents/key.js";
import type { ExclusiveDocument, LiveDocuments, Merged, MergeSession } from "../documents/live.js";
import type { Ends } from "../documents/loro/api.js";
import { type MergedPush, patchBase, union } from "../documents/patch-base.js";
import { ownersOf } from "../documents/peer-owners.js";
import { isServerPeer } from "../documents/server-peers.js";
import { EngineLost } from "../engine/engine.js";
import { PerchError } from "../errors.js";
import type { WorkerLog } from "./log.js";
import { createRetryingJobs } from "./retrying-jobs.js";

export interface InboxOptions {
  readonly db: Database;
  readonly live: LiveDocuments;
  readonly log: WorkerLog;
  readonly concurrency: number;
  readonly contention: Contention;
}

export interface InboxStats {
  /** Documents in which something is pending, as of the last poll. */
  readonly pending: number;
  /**
   * For how long the oldest of that has been pending; 0 when nothing is. What came before this worker started counts from its first
   * poll, until it is claimed. Stays high when a document cannot be merged.
   */
  readonly mergeLagMs: number;
  /** What this worker has looked after since it started, and how much of that it set aside with an error. */
  readonly merged: number;
  readonly setAside: number;
}

export interface Inbox {
  /** Something may be pending. Out: resolves when nothing asks for another look; merging goes on behind. */
  wake(): Promise<void>;
  stats(): InboxStats;
  /** Begins nothing more; resolves when nothing is under way. */
  close(): Promise<void>;
}

/** Documents shown by one poll of the inbox, and items merged in one transaction. */
const maxDocuments = 100;
const maxItems = 20;
/** What is spent on items that have to be set aside is made up for: for so many times as long the document's inbox rests. */
const restFactor = 9;
const longestRestMs = 2_000;
/** How long a document is merged before it is the turn of those that wait: more may be pushed to it all the time. */
const turnMs = 100;
/** Once so much was spent so, the transaction takes no further item: who edits the document meanwhile waits for it. */
const maxWastedMs = 50;
/** As perch.claim_pending has it: it begins with no further item once it has given so many bytes. */
const claimedBytes = 8 * 2 ** 20;
/** Notifications come in bursts: between two polls there is at least this much time. */
const betweenPollsMs = 15;

/** Merges what SQL callers pushed. Where several workers run, each document is merged by whichever claims it first. */
export function createInbox({ db, live, log, concurrency, contention }: InboxOptions): Inbox {
  const jobs = createRetryingJobs({
    what: "merging a document's inbox",
    concurrency,
    log,
    contention,
    takes: documentId,
  });
  /** Documents in which something was pending while they were being merged: it may have come too late for that. */
  const missed = new Set<string>();
  /** Documents whose inbox rests after bad items. */
  const restingInboxes = new Map<string, NodeJS.Timeout>();
  /** Documents with something pending, and since when. */
  const pending = new Map<string, number>();
  let merged = 0;
  let setAside = 0;
  let polling: Promise<void> | undefined;
  let again = false;
  let closed = false;

  async function poll(): Promise<void> {
    try {
      do {
        again = false;
        // Those at work or at rest may be the oldest: they must not hide the others.
        const { working, resting } = jobs.counts();
        const max = maxDocuments + working + resting + restingInboxes.size;
        const found = await db.query<KeyRow>("select * from perch.pending_documents(max_count => $1)", [max]);
        const keys = found.map(keyOf);
        note(new Set(keys.map(documentId)));
        const merging = keys.flatMap((key) => begin(key) ?? []);
        if (found.length === max) void Promise.all(merging).then(() => wake());
        await new Promise((done) => setTimeout(done, betweenPollsMs));
      } while (again && !closed);
    } catch (error) {
      log.warn({ err: error }, "looking at the inbox failed; it will be tried again");
    } finally {
      polling = undefined;
    }
  }

  function note(ids: ReadonlySet<string>): void {
    const now = Date.now();
    for (const id of [...pending.keys()]) if (!ids.has(id) && !jobs.working(id)) pending.delete(id);
    for (const id of ids) if (!pending.has(id)) pending.set(id, now);
  }

  function begin(key: DocumentKey): Promise<unknown> | undefined {
    const id = documentId(key);
    if (jobs.working(id)) missed.add(id);
    else if (!jobs.resting(id) && !restingInboxes.has(id) && !closed) {
      return jobs
        .run(key, (lockTimeoutMs) => mergeDocument(key, lockTimeoutMs))
        .then(() => (missed.delete(id) ? begin(key) : undefined));
    }
    return undefined;
  }

  async function mergeDocument(key: DocumentKey, lockTimeoutMs: number): Promise<void> {
    const document = await live.open(key);
    const { id } = document;
    const claimed = (oldestMs: number) =>
      pending.set(id, Math.min(pending.get(id) ?? Date.now(), Date.now() - oldestMs));
    try {
      const turnEndsAt = performance.now() + turnMs;
      while (!closed) {
        const done = await document.exclusive((held) => mergeSome(db, held, key, lockTimeoutMs, claimed));
        merged += done.merged;
        setAside += done.setAside;
        if (done.wastedMs > 0) {
          // It may be that more is pending: the rest ends with a poll.
          rest(key, Math.min(longestRestMs, done.wastedMs * restFactor));
          return;
        }
        if (done.merged < maxItems && !done.again) {
          pending.delete(id);
          return;
        }
        if (performance.now() > turnEndsAt) {
          // Others have their turns before the rest of it.
          missed.add(id);
          return;
        }
      }
    } finally {
      document.release();
    }
  }

  function rest(key: DocumentKey, ms: number): void {
    if (closed) return;
    const id = documentId(key);
    const timer = setTimeout(() => {
      restingInboxes.delete(id);
      begin(key);
    }, ms);
    restingInboxes.set(id, timer);
  }

  function wake(): Promise<void> {
    if (closed) return Promise.resolve();
    again = true;
    polling ??= poll();
    return polling;
  }

  return {
    wake,
    stats: () => ({
      pending: pending.size,
      mergeLagMs: pending.size === 0 ? 0 : Date.now() - Math.min(...pending.values()),
      merged,
      setAside,
    }),
    async close() {
      closed = true;
      for (const timer of restingInboxes.values()) clearTimeout(timer);
      await polling;
      await jobs.settled();
    },
  };
}

export interface KeyRow {
  space_id: string;
  app_id: string;
  table_name: string;
  record_id: string;
}

export function keyOf(row: KeyRow): DocumentKey {
  return { spaceId: row.space_id, appId: row.app_id, tableName: row.table_name, recordId: row.record_id };
}

/** What was pushed, or (with an ordinal) written by a plain statement to columns that are a document. */
interface Item {
  seq: number;
  /** Null for what was pushed. */
  ordinal: number | null;
  /** Of a write to columns: the version that they showed. */
  base: Ends | null;
  payload: Uint8Array | null;
  /** As text: parsed here, integers beyond 2^53 would change. */
  patch: string | null;
  base_seq: number | null;
  user_id: string;
  /** By the clock of the database. */
  age_ms: number;
}

interface Outcome extends MergedPush, Merged {
  readonly ordinal: number | null;
  /** Of a write to columns: all that they show of the document with it. */
  readonly version: Ends | null;
  readonly error: PerchError | null;
}

// Whoever holds the document's row in a long transaction of their own makes this document wait, not the worker.
const claimSql = `
  select * from perch.claim_pending(space_id => $1, app_id => $2, table_name => $3, record_id => $4, max_count => $5,
                                    lock_timeout_ms => $6)`;

const finishWriteSql = `
  select perch.finish_column_write(space_id => $1, app_id => $2, table_name => $3, record_id => $4, ordinal => $5,
                                   update => $6, ends => $7::jsonb, version => $8::jsonb, error => $9::jsonb) as placed`;

const endSql = `
  select perch.end_row_document(space_id => $1, app_id => $2, table_name => $3, record_id => $4, ordinal => $5)`;

// In the order of the items: each takes the next position.
const finishSql = `
  select perch.finish_inbox(space_id => $1, app_id => $2, table_name => $3, record_id => $4,
                            seq => f.seq, update => f.update, error => f.error::jsonb, ends => f.ends::jsonb)
    from (select * from unnest($5::bigint[], $6::bytea[], $7::text[], $8::text[]) with ordinality
            as u (seq, update, error, ends, ordinal) order by ordinal) f`;

const trespassSql = `
  select perch.others_wrote(space_id => $1, app_id => $2, table_name => $3, record_id => $4, after_seq => $5, peers => $6) as found`;

interface Merging {
  readonly merged: number;
  readonly setAside: number;
  /** How long those took that had to be set aside. */
  readonly wastedMs: number;
  /** There is more, or there may be: of the document that comes after, or what was too much at once. */
  readonly again?: boolean;
}

/**
 * Merges the oldest pending items of a document, in one transaction: they move from the inbox to the tail together with the
 * positions they get there, or stay. Nobody sees the merged copy before the commit (see `HeldDocument.merge`); after it, readers are
 * given what the database then has.
 * `claimed` is told the age of the oldest. Out: how many were looked after, and how many of them were set aside; 0 also when another
 * worker has the document.
 */
async function mergeSome(
  db: Database,
  held: ExclusiveDocument,
  key: DocumentKey,
  lockTimeoutMs: number,
  claimed: (oldestMs: number) => void,
): Promise<Merging> {
  const address = [key.spaceId, key.appId, key.tableName, key.recordId];
  let begun = false;
  let committed = false;
  await held.load();
  try {
    const done = await db.transaction(async (tx) => {
      const items = itemsOf(await tx.query<Item>(claimSql, [...address, maxItems, lockTimeoutMs]));
      if (items.length === 0) return { merged: 0, setAside: 0, wastedMs: 0 };
      if (isEnd(items[0])) {
        await tx.query(endSql, [...address, items[0].ordinal]);
        return { merged: 1, setAside: 0, wastedMs: 0, again: true };
      }
      claimed(items[0]?.age_ms ?? 0);
      begun = true;
      const { outcomes, wastedMs } = await held.merge(tx, (session) => mergeItems(tx, session, key, items));
      // Only now, at the end: from here to the commit the row of the document is locked, and other nodes wait.
      const text = (ends: Ends | null) => ends && JSON.stringify(ends);
      for (const { ordinal, update, ends, version, error } of outcomes.filter(({ ordinal }) => ordinal !== null)) {
        const result = [update, text(ends), text(version), error && describe(error)];
        const [row] = await tx.query<{ placed: number | null }>(finishWriteSql, [...address, ordinal, ...result]);
        if (row?.placed == null) throw new Error("the row was deleted meanwhile; merging what is left");
      }
      const pushed = outcomes.filter(({ ordinal }) => ordinal === null);
      await tx.query(finishSql, [
        ...address,
        pushed.map(({ seq }) => seq),
        pushed.map(({ update }) => update),
        pushed.map(({ error }) => error && describe(error)),
        pushed.map(({ ends }) => text(ends)),
      ]);
      const peers = outcomes.flatMap(({ ends }) => Object.keys(ends ?? {}).filter(isServerPeer));
      // From here to the commit nobody else appends: what somebody wrote under a peer of ours, since the copy was brought up to
      // date, is there to be seen. Patches are then written again, under another.
      if (peers.length > 0) {
        const [others] = await tx.query<{ found: boolean }>(trespassSql, [...address, held.position, peers]);
        if (others?.found) throw new Error("somebody wrote under a peer of this server; merging it again");
      }
      const setAside = outcomes.filter(({ error }) => error !== null).length;
      const again =
        outcomes.length < items.length || items.reduce((sum, item) => sum + bytesOf(item), 0) >= claimedBytes;
      return { merged: outcomes.length, setAside, wastedMs, again };
    });
    committed = true;
    return done;
  } finally {
    if (begun) await held.merged(committed);
  }
}

/** What it takes in memory here, as `perch.claim_pending` counts it. */
const bytesOf = ({ payload, patch }: Item) => payload?.byteLength ?? Buffer.byteLength(patch ?? "");

/** A row that was deleted: its document ends. */
function isEnd(item: Item | undefined): item is Item & { readonly ordinal: number } {
  return item !== undefined && item.ordinal !== null && item.patch === null;
}

/** Writes to columns come first: a document of a row begins with one. What is behind the end of a document is none of it. */
function itemsOf(claimed: readonly Item[]): readonly Item[] {
  const writes = claimed.filter(({ ordinal }) => ordinal !== null);
  const end = writes.findIndex(isEnd);
  if (end === -1) return [...writes, ...claimed.filter(({ ordinal }) => ordinal === null)];
  return writes.slice(0, Math.max(1, end));
}

async function mergeItems(
  tx: Transaction,
  session: MergeSession,
  key: DocumentKey,
  items: readonly Item[],
): Promise<{ outcomes: Outcome[]; wastedMs: number }> {
  const outcomes: Outcome[] = [];
  let wastedMs = 0;
  const endsAt = performance.now() + turnMs;
  for (const item of items) {
    if (wastedMs > maxWastedMs || (outcomes.length > 0 && performance.now() > endsAt)) break;
    const { seq, ordinal, user_id: userId } = item;
    const base = ordinal === null ? null : union([item.base ?? {}, outcomes.at(-1)?.version ?? {}]);
    const began = performance.now();
    try {
      const { update, ends } = base
        ? await session.applyPatch(item.patch ?? "{}", { ends: base })
        : await mergeItem(tx, session, key, item, outcomes);
      outcomes.push({ seq, ordinal, userId, update, ends, version: base && union([base, ends ?? {}]), error: null });
    } catch (error) {
      const reason = reasonToSetAside(error);
      outcomes.push({ seq, ordinal, userId, update: null, ends: null, version: base, error: reason });
      wastedMs += performance.now() - began;
    }
  }
  return { outcomes, wastedMs };
}

async function mergeItem(
  tx: Transaction,
  session: MergeSession,
  key: DocumentKey,
  item: Item,
  merged: readonly MergedPush[],
): Promise<Merged> {
  if (item.payload !== null) {
    return session.importUpdate(item.payload, async (peers) => {
      const { foreign, own } = await ownersOf(tx, key, item.user_id, peers);
      // What was merged before it in this transaction is not in the tail yet.
      const others = new Set(
        merged.filter(({ userId }) => userId !== item.user_id).flatMap(({ ends }) => Object.keys(ends ?? {})),
      );
      const justNow = own.filter((peer) => others.has(peer));
      return { foreign: [...foreign, ...justNow], own: own.filter((peer) => !others.has(peer)) };
    });
  }
  const { seq, patch, base_seq: baseSeq, user_id: userId } = item;
  if (patch === null) throw new PerchError("PE422", "there is neither an update nor a patch");
  return session.applyPatch(patch, await patchBase(tx, { key, seq, baseSeq, userId, merged }));
}

/**
 * An Error's message would be left out of its JSON. It names what its author has named, perhaps cut off within a character: with what no jsonb
 * holds in it the whole transaction would fail, and again each time.
 */
function describe({ code, word, message, detail }: PerchError): string {
  const readable = (_: string, value: unknown) => (typeof value === "string" ? storable(value) : value);
  return JSON.stringify({ code, word, message, detail }, readable);
}

/** Errors of the item itself. Anything else (the database is away, the engine is overloaded) concerns the whole transaction. */
function reasonToSetAside(error: unknown): PerchError {
  if (error instanceof PerchError) return error;
  // Thread after thread was lost while this was being merged.
  if (error instanceof EngineLost) return new PerchError("PE422", "the engine did not survive it", { reason: "lost" });
  throw error;
}
