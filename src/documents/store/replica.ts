import type { Transaction } from "../../database/types.js";
import { PerchError } from "../../errors.js";
import { remember } from "../../lib/bounded-map.js";
import { createMutex } from "../../lib/keyed-mutex.js";
import type { DocumentKey } from "../key.js";
import { holding, isBroken, setTailAside } from "../live/broken-tail.js";
import {
  type Missed,
  type Position,
  readDocument,
  readMissed,
  type StoredDocument,
  type StoredUpdate,
} from "../live/queries.js";
import type { DocumentEngine } from "../loro/engine.js";
import type { DocumentSchema } from "../loro/fields.js";
import { innocentAttempts, isLost } from "../loro/lost.js";
import { type CachedProjection, projectChanged } from "./cached-projection.js";
import type { OpenedDocument } from "./open-for-write.js";
import { asWorker } from "./worker-role.js";

/*
 * The store's replica of a document in an engine thread, while callers' transactions come and go, some of them to be rolled back.
 *
 * Nothing tells the store how a transaction ends, so it never assumes one did. Of the updates in the replica it keeps those apart that
 * may be uncommitted: `unsure`, the ones last seen by the transaction that may have written them. Before every use the replica is
 * compared with what the transaction at hand sees behind `sure`: the unsure updates must be there, with their revisions at their
 * positions, followed by what is new. What is there although another transaction wrote it is committed, hence sure; if anything
 * is missing or different (rolled back, or not committed yet by somebody else), the replica is thrown away and loaded as this
 * transaction sees it. So a replica never shows a transaction what that transaction does not see in the database itself, and notices
 * what other processes wrote.
 *
 * Uses of one replica take turns. Inside a turn nothing waits for a lock that another transaction may hold while it waits for the turn:
 * writers lock the document's row before, and store what they made of it afterwards. Meanwhile the replica is ahead of the database:
 * whoever has a turn then loads it anew.
 */

interface Unsure extends StoredUpdate {
  readonly transaction: string;
}

export interface View {
  readonly schema: DocumentSchema;
  readonly at: Position;
  /** The JSON at this position, if it was made before. */
  readonly cached: CachedProjection | undefined;
}

/** What a replica is ahead of the database with. */
export interface Ahead {
  readonly view: View;
}

export interface DocumentReplica {
  /** The position up to which the replica holds what is committed, and where it is itself, if that is further; none when it holds nothing. */
  readonly known: readonly Position[];
  /** The bytes of the JSON it keeps. */
  readonly shownBytes: number;
  /** Takes a turn: brings the replica to what `tx` sees, then runs `work`. */
  use<T>(tx: Transaction, opened: OpenedDocument, work: (view: View) => Promise<T>): Promise<T>;
  /** Inside a turn: the JSON at the position of its view. At any time: undefined, to keep none. */
  show(cached: CachedProjection | undefined): void;
  /** Inside a turn, its last act: the replica contains an update that is yet to be stored. */
  runAhead(): Ahead;
  /** After the turn: the transaction stored that update. `cached`: the JSON it leads to. */
  stored(ahead: Ahead, update: StoredUpdate, opened: OpenedDocument, cached: CachedProjection | undefined): void;
  /** Inside a turn: whether the user wrote under all of these Loro peers first, as far as the replica remembers. */
  isOwner(userId: string, peers: Iterable<string>): boolean;
  /** Inside a turn: the user writes under these, which nobody had or which are theirs. */
  wrote(userId: string, peers: readonly string[]): void;
  /** Uses that have a turn, or wait for one. */
  readonly uses: number;
  /** Takes a turn, in which it is forgotten, in the engine too; the next use loads it. */
  drop(): Promise<void>;
}

/** Peers remembered; the longest known are forgotten first. */
const maxOwned = 2_000;

export function createReplica(id: string, key: DocumentKey, engine: DocumentEngine): DocumentReplica {
  let view: View | undefined;
  let declared = "";
  let sure: Position = { seq: 0, revision: 0 };
  let unsure: Unsure[] = [];
  let ahead: Ahead | undefined;
  /** Whose a peer is. Whoever wrote into this replica is in the database, or the replica is forgotten before its next use. */
  const owners = new Map<string, string>();
  const mutex = createMutex();
  let uses = 0;

  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    uses += 1;
    return mutex(work).finally(() => {
      uses -= 1;
    });
  }

  async function load(tx: Transaction, opened: OpenedDocument): Promise<View> {
    forget();
    const found = opened.found();
    const read = found?.after === null ? found.stored : await asWorker(tx, () => readDocument(tx, key));
    const stored = await loadHolding(tx, opened, read);
    unsure = opened.wrote ? stored.updates.map((update) => ({ ...update, transaction: opened.transaction })) : [];
    const at = { seq: stored.headSeq, revision: stored.headRevision };
    sure = opened.wrote ? beforeTail(stored) : at;
    declared = opened.declared;
    view = { schema: stored.schema, at, cached: undefined };
    return view;
  }

  /** Loads what is stored, up to the last position that holds; for a writer, the tail is mended first. */
  async function loadHolding(tx: Transaction, opened: OpenedDocument, stored: StoredDocument): Promise<StoredDocument> {
    const loading = ({ schema, snapshot, updates, ended }: StoredDocument) =>
      engine.call(id, "load", [id, schema, snapshot, updates.map(({ payload }) => payload), ended]);
    try {
      await loading(stored);
      return stored;
    } catch (error) {
      if (!isBroken(error)) throw error;
      const holds = await holding(stored, loading);
      const first = stored.updates[holds.updates.length];
      if (opened.toWrite && first) await asWorker(tx, () => setTailAside(tx, key, holds.headSeq, first));
      return holds;
    }
  }

  /** What the transaction sees behind `sure`; undefined when it does not lead on from there. */
  async function readBehind(
    tx: Transaction,
    opened: OpenedDocument,
  ): Promise<Pick<Missed, "head" | "updates"> | undefined> {
    const found = opened.found();
    if (found?.after === null) return undefined;
    // The document is where the replica is: so all before that is there, too, since a revision is drawn once.
    if (found && view && isSame(view.at, found.head)) return { head: found.head, updates: unsure };
    // Others may have had a turn since.
    if (found && [found.after, ...found.updates].some((one) => isSame(sure, one)))
      return { head: found.head, updates: found.updates.filter(({ seq }) => seq > sure.seq) };
    const [missed] = await asWorker(tx, () => readMissed(tx, [{ key, after: sure }]));
    return missed?.leadsOn ? missed : undefined;
  }

  async function sync(tx: Transaction, opened: OpenedDocument): Promise<View> {
    if (!view || declared !== opened.declared) return load(tx, opened);
    const missed = await readBehind(tx, opened);
    const known = missed !== undefined && unsure.every((own, index) => isSame(own, missed.updates[index]));
    if (!known || missed.head.seq < view.at.seq) return load(tx, opened);
    const added = missed.updates.slice(unsure.length);
    const shown = added.length > 0 ? await takeIn(added, view.cached) : view;
    if (!shown) return load(tx, opened);
    if (opened.wrote) {
      const own = unsure.findIndex((update) => update.transaction === opened.transaction);
      const settled = own === -1 ? unsure.length : own;
      sure = unsure[settled - 1] ?? sure;
      unsure = [...unsure.slice(settled), ...added.map((update) => ({ ...update, transaction: opened.transaction }))];
    } else {
      sure = missed.head;
      unsure = [];
    }
    view = { schema: view.schema, at: missed.head, cached: shown.cached };
    return view;
  }

  /** What is stored was checked when it came. Out: the JSON it leads to; undefined where it does not hold together, which loading sees to. */
  async function takeIn(
    updates: readonly StoredUpdate[],
    before: CachedProjection | undefined,
  ): Promise<Pick<View, "cached"> | undefined> {
    const payloads = updates.map((update) => update.payload);
    try {
      const { data } = await engine.call(id, "importChecked", [id, payloads, { show: before !== undefined }]);
      return { cached: before && data ? projectChanged(before, data).cached : undefined };
    } catch (error) {
      if (error instanceof PerchError) return undefined;
      throw error;
    }
  }

  async function attempt<T>(tx: Transaction, opened: OpenedDocument, work: (view: View) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await work(await sync(tx, opened));
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
    ahead = undefined;
    owners.clear();
  }

  return {
    get known() {
      if (!view) return [];
      return isSame(sure, view.at) ? [sure] : [sure, view.at];
    },
    get shownBytes() {
      return view?.cached?.bytes ?? 0;
    },
    use: (tx, opened, work) => inTurn(() => attempt(tx, opened, work)),
    show(cached) {
      if (view) view = { ...view, cached };
    },
    runAhead() {
      if (!view) throw new Error("a replica that is not loaded cannot be ahead");
      ahead = { view };
      view = undefined;
      return ahead;
    },
    stored(made, update, opened, cached) {
      // Somebody else had a turn since, and loaded what the database had then.
      if (ahead !== made) return;
      ahead = undefined;
      unsure.push({ ...update, transaction: opened.transaction });
      view = { schema: made.view.schema, at: { seq: update.seq, revision: update.revision }, cached };
    },
    isOwner: (userId, peers) => [...peers].every((peer) => owners.get(peer) === userId),
    wrote(userId, peers) {
      for (const peer of peers) remember(owners, peer, userId, maxOwned);
    },
    get uses() {
      return uses;
    },
    drop: () =>
      inTurn(async () => {
        forget();
        // A thread that is being replaced has forgotten it already.
        await engine.call(id, "drop", [id]).catch(() => undefined);
      }),
  };
}

function isSame(own: Position, theirs: Position | undefined): boolean {
  return own.seq === theirs?.seq && own.revision === theirs.revision;
}

function beforeTail({ snapshot, snapshotSeq, snapshotRevision, incarnationSeq }: StoredDocument): Position {
  return snapshot === null ? { seq: incarnationSeq, revision: 0 } : { seq: snapshotSeq, revision: snapshotRevision };
}
