import type { Queryable } from "../../database/types.js";
import type { Identity } from "../../identity/identity.js";
import type { DocumentKey } from "../key.js";
import type { Ends, PatchBase } from "../loro/api.js";
import type { Owned } from "../peer-owners.js";
import type { Position } from "./queries.js";

/** On whose behalf an update is appended. Without lists, memberships are read from `space_members` in the append itself. */
export interface Author extends Identity {
  readonly clientId?: string | undefined;
}

/** Updates that are now committed, in the order of their commit within the document. */
export interface CommittedUpdates {
  readonly updates: readonly Uint8Array[];
  /** The position of the last of them. */
  readonly seq: number;
  /** What the writer on this node passed to `append`; undefined for updates of other nodes, SQL callers and reloads. */
  readonly origin: unknown;
}

/**
 * Called after COMMIT, synchronously and in commit order. It must not throw; what it throws is logged and dropped. After a
 * reload an update may come a second time, which changes nothing in a Loro document.
 */
export type UpdateListener = (committed: CommittedUpdates) => void;

/**
 * Why a document ended for its readers and writers.
 * deleted  what they have belongs to an incarnation that is over: they begin from nothing
 * moved    the database went back to an earlier state, or they are so far behind that this cannot be told: they join with what they have, and
 *          bring what the database lacks
 */
export type Ending = "deleted" | "moved";

/** What a joining reader gets; from then on the listener gets everything that is not in it. */
export interface Joined {
  /** The encoded Loro version vector of the document with `updates` applied: at least one byte. */
  readonly version: Uint8Array;
  /** What a reader at the version it named lacks; empty when nothing. */
  readonly updates: readonly Uint8Array[];
  /** The position that `version` stands for. */
  readonly seq: number;
  /** Ends the subscription; safe to call twice. */
  leave(): void;
}

/** A document held open on this node. Every `open` and `retain` is matched by one `release`. */
export interface LiveDocument {
  readonly id: string;
  readonly key: DocumentKey;
  /** The last committed position that this node has given to its listeners. */
  readonly position: number;
  /** Size of the last known projection, as JSON text. */
  readonly projectionBytes: number;
  /** Size of the last known snapshot. */
  readonly snapshotBytes: number;
  /**
   * Gives what a reader at `version` (an encoded version vector; empty: knows nothing) lacks and subscribes it, as one step: only
   * committed updates are given, some of which the reader may have, and none committed later is missed. `onEnded` is called, once, when
   * what the reader has is not what the database has: it gets nothing more, and has to join again (see `Ending`).
   * Errors: PE422 for a version that does not decode.
   */
  join(version: Uint8Array, listener: UpdateListener, onEnded?: (why: Ending) => void): Promise<Joined>;
  /**
   * Decodes and merges the updates of one client batch, then stores them; resolves after COMMIT.
   * Errors: PE401, PE403 (may not write this space), PE410 (the document ended, see `Ending`), PE413 (over a limit), PE422 (does
   * not decode, lacks its dependencies, breaks the declared fields): nothing of the batch counts, and nobody else is affected. Any
   * other error: the database or the engine is away, and the outcome may be unknown; the client has to join again.
   * Out: `forked` when somebody else had written under the author's peer: the edits are stored under another, and the author's copy is to be
   * given up for the server's.
   */
  append(
    updates: readonly Uint8Array[],
    author: Author,
    origin: unknown,
  ): Promise<{ readonly seq: number; readonly forked?: boolean }>;
  /** Everything that was committed before the call has been given to the listeners when it resolves. */
  refresh(): Promise<void>;
  /** Runs `work` while nothing of this document is under way; what comes meanwhile waits. Do not nest. */
  exclusive<T>(work: (held: ExclusiveDocument) => Promise<T>): Promise<T>;
  /**
   * The plain JSON, and the position that it shows: everything committed here before the call is in it. Writers do not wait for it. `asked` is called
   * when it is determined what it shows.
   */
  project(asked?: () => void): Promise<Position & { readonly data: Record<string, unknown> }>;
  /** The whole history in one blob, its encoded version, and its position; as `project`. Its size becomes the document's `snapshotBytes`. */
  snapshot(): Promise<Position & { readonly snapshot: Uint8Array; readonly version: Uint8Array }>;
  /**
   * The document's row in the database is about to be locked, for a moment: appends to it stay here until then, instead of holding up, in
   * their common transaction, those to other documents. Out: to be called when it no longer is.
   */
  locked(): () => void;
  /** A projection was stored: `projectionBytes` is its size; the tail was then so long. */
  projected(bytes: number, tail: Tail): void;
  /** Everything known here was folded into the snapshot. */
  folded(): void;
  /** Another reference to the same document. */
  retain(): void;
  /** Gives a reference back; without any the document is kept for a while, then forgotten. */
  release(): void;
}

/** A document that somebody has exclusive access to. Its engine replica holds committed updates only, until `merge` adds others. */
export interface ExclusiveDocument {
  readonly position: number;
  /** Has the replica loaded, and a broken tail mended: not for inside a transaction. */
  load(): Promise<void>;
  /** The plain JSON at an earlier version. Errors: PE422 when the document never had it. */
  projectAt(version: Ends): Promise<Record<string, unknown>>;
  /** Takes what `work` merges into the engine's replica; see `MergeSession`. */
  merge<T>(tx: Queryable, work: (session: MergeSession) => Promise<T>): Promise<T>;
  /** Call after the transaction of `merge` ended: gives the listeners what it committed, or forgets what it did not. */
  merged(committed: boolean): Promise<void>;
}

/**
 * Merges inside a transaction that is not committed yet. The replica in the engine is then ahead of the database, which nobody sees:
 * the access is exclusive until `merged` has either caught up with the database or dropped the replica.
 */
export interface MergeSession {
  /** Merges an update; `ownersOf` tells whose its peers are. Out: what is to be stored of it. Errors: PE413, PE422. */
  importUpdate(update: Uint8Array, ownersOf: (peers: ReadonlySet<string>) => Promise<Owned>): Promise<Merged>;
  /** Applies a patch. Out: what is to be stored of it. Errors: PE413, PE422. */
  applyPatch(patch: string, base: PatchBase): Promise<Merged>;
}

export interface Merged {
  /** Null when there was nothing new in it. */
  readonly update: Uint8Array | null;
  readonly ends: Ends | null;
}

export interface LiveStats {
  /** Documents known on this node, with or without a reader. */
  readonly documents: number;
  /** Of these, the ones whose content is in an engine thread, as far as is known here. */
  readonly warm: number;
  /** Appends that are neither committed nor refused yet. */
  readonly appending: number;
  /** Subscriptions to committed updates, over all documents. */
  readonly readers: number;
  /**
   * Updates, and their bytes, behind the snapshots of the documents known here, as of their last load, projection or fold; and the
   * most updates that one document has. Grows without end when folding does not work.
   */
  readonly tailUpdates: number;
  readonly tailBytes: number;
  readonly longestTail: number;
  /**
   * How long the notification of an own commit took to come back through the database: the last one, or the longest that is still on its
   * way. Undefined before the first. Grows without end when notifications do not arrive.
   */
  readonly notifyLagMs: number | undefined;
  /** Documents whose tail was found not to hold together, and mended, since the start. */
  readonly brokenTails: number;
}

/** What is behind the snapshot of a document. */
export interface Tail {
  readonly updates: number;
  readonly bytes: number;
}

/** What was committed on this node or reached it, for whoever keeps projections. */
export interface CommitNotice {
  /** Whether any of it was committed by this node. */
  readonly own: boolean;
  readonly seq: number;
}

/** The documents of this node: each is loaded once, however many rooms and workers use it. */
export interface LiveDocuments {
  /** Opens a document, also one that was never written. Errors: PE404 when its table is not declared. */
  open(key: DocumentKey): Promise<LiveDocument>;
  /**
   * Call it before a document is opened for a reader: where it is in columns of a synced table, it begins with what they have, which a worker
   * merges; resolves when it has. Errors: PE404 when there is no such row; another when no worker does it in time.
   */
  adopt(key: DocumentKey): Promise<void>;
  /** The document, when it is open here; without a reference of its own. */
  peek(key: DocumentKey): LiveDocument | undefined;
  /**
   * A notification said that `seq` is taken in the document. Reads what is new, unless it is known already. Out, by `onUnexplained`:
   * notifications that no update in the tail accounts for, so that something may be waiting to be merged.
   */
  notified(key: DocumentKey, seq: number): void;
  onUnexplained(listener: (key: DocumentKey) => void): () => void;
  /** Tells of updates after they were given to the readers of their document. */
  onCommitted(listener: (document: LiveDocument, notice: CommitNotice) => void): () => void;
  /** Refreshes every document that has readers, in few statements; errors are thrown after all were tried. */
  refreshAll(): Promise<void>;
  /** The declared fields of a table changed: its documents are loaded again before their next use. */
  redeclared(appId: string, tableName: string): void;
  stats(): LiveStats;
  /** Takes no more appends, waits for what is under way, forgets everything. */
  close(): Promise<void>;
}

/** Asks whoever has all that anybody was told of when this was called; perhaps twice. */
export type Look = <T>(read: (on: Queryable) => Promise<T>) => Promise<T>;
