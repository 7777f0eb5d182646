import type { Transaction } from "../../database/types.js";
import type { DocumentKey } from "../key.js";
import { innocentAttempts, isLost } from "../live/content.js";
import { continues, readDocument, readNews, type StoredUpdate } from "../live/stored.js";
import type { DocumentEngine } from "../loro/engine.js";
import type { DocumentSchema } from "../loro/fields.js";

/*
 * The store's copy of a document in an engine thread, while callers' transactions come and go, some of them to be rolled back.
 *
 * Nothing tells the store how a transaction ends, so it never assumes one did. Of the updates in the copy it keeps those apart that
 * may be uncommitted: `unsure`, the ones last seen by the transaction that may have written them. Before every use the copy is
 * compared with what the transaction at hand sees behind `sure`: the unsure updates must be there, the same bytes at the same
 * positions, followed by what is new. What is there although another transaction wrote it is committed, hence sure; if anything
 * is missing or different (rolled back, or not committed yet by somebody else), the copy is thrown away and loaded as this
 * transaction sees it. So a copy never shows a transaction what that transaction does not see in the database itself, and notices
 * what other processes wrote.
 *
 * Uses of one copy take turns. Inside a turn nothing waits for a lock that another transaction may hold while it waits for the turn:
 * writers lock the document's row before.
 */

interface Unsure extends StoredUpdate {
  readonly transaction: string;
}

export interface View {
  readonly schema: DocumentSchema;
  readonly seq: number;
}

export interface DocumentCopy {
  /** Takes a turn: brings the copy to what `tx` sees, then runs `work`. */
  use<T>(tx: Transaction, visit: Visit, work: (view: View) => Promise<T>): Promise<T>;
  /** Inside a turn: the transaction stored an update that the copy contains already. */
  stored(update: StoredUpdate, visit: Visit): void;
  /** Forgets the copy; the next use loads it. */
  forget(): void;
}

/** What is to be known of a transaction that uses a document. */
export interface Visit {
  /** Names the transaction: no two have the same. */
  readonly transaction: string;
  /** Whether it may have written anything before. */
  readonly wrote: boolean;
  /** The declared fields of the document's table, as JSON text: when they changed, the copy is loaded again. */
  readonly declared: string;
}

export function createCopy(id: string, key: DocumentKey, engine: DocumentEngine): DocumentCopy {
  let view: View | undefined;
  let declared = "";
  let sure = 0;
  let unsure: Unsure[] = [];
  let turn: Promise<unknown> = Promise.resolve();

  async function load(tx: Transaction, visit: Visit): Promise<View> {
    view = undefined;
    const stored = await readDocument(tx, key);
    const updates = stored.updates.map((update) => update.payload);
    await engine.call(id, "load", [id, stored.schema, stored.snapshot, updates, stored.ended]);
    unsure = visit.wrote ? stored.updates.map((update) => ({ ...update, transaction: visit.transaction })) : [];
    sure = visit.wrote ? (stored.snapshot === null ? stored.lifeSeq : stored.snapshotSeq) : stored.headSeq;
    declared = visit.declared;
    view = { schema: stored.schema, seq: stored.headSeq };
    return view;
  }

  async function sync(tx: Transaction, visit: Visit): Promise<View> {
    if (!view || declared !== visit.declared) return load(tx, visit);
    const [news] = await readNews(tx, [{ key, afterSeq: sure }]);
    if (!news || !continues(news, sure)) return load(tx, visit);
    const known = unsure.every((own, index) => isSame(own, news.updates[index]));
    if (!known || news.headSeq < view.seq) return load(tx, visit);
    const added = news.updates.slice(unsure.length);
    if (added.length > 0) await engine.call(id, "import", [id, added.map((update) => update.payload)]);
    if (visit.wrote) {
      const own = unsure.findIndex((update) => update.transaction === visit.transaction);
      const settled = own === -1 ? unsure.length : own;
      sure = unsure[settled - 1]?.seq ?? sure;
      unsure = [...unsure.slice(settled), ...added.map((update) => ({ ...update, transaction: visit.transaction }))];
    } else {
      sure = news.headSeq;
      unsure = [];
    }
    view = { schema: view.schema, seq: news.headSeq };
    return view;
  }

  async function attempt<T>(tx: Transaction, visit: Visit, work: (view: View) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await work(await sync(tx, visit));
      } catch (error) {
        // Half a patch may be in it, or one whose update was not stored.
        forget();
        if (!isLost(error) || tries === innocentAttempts) throw error;
      }
    }
  }

  function forget(): void {
    view = undefined;
    unsure = [];
  }

  return {
    use(tx, visit, work) {
      const result = turn.then(() => attempt(tx, visit, work));
      turn = result.catch(() => undefined);
      return result;
    },
    stored(update, visit) {
      if (!view) throw new Error("an update was stored outside a turn");
      unsure.push({ ...update, transaction: visit.transaction });
      view = { schema: view.schema, seq: update.seq };
    },
    forget,
  };
}

function isSame(own: StoredUpdate, theirs: StoredUpdate | undefined): boolean {
  return theirs !== undefined && own.seq === theirs.seq && Buffer.compare(own.payload, theirs.payload) === 0;
}
