import type { DocumentKey } from "./key.js";

/** On whose behalf an update is appended. Without lists, memberships are read from `space_members` in the append itself. */
export interface Author {
  readonly userId: string;
  /** The spaces a token lets its user read; given together with `writableSpaceIds` or alone (then nothing shared is writable). */
  readonly spaceIds?: readonly string[] | undefined;
  readonly writableSpaceIds?: readonly string[] | undefined;
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

/** Called after COMMIT, synchronously and in commit order. It must not throw; what it throws is logged and dropped. */
export type UpdateListener = (committed: CommittedUpdates) => void;

/** What a joining reader gets; from then on the listener gets everything that is not in it, and nothing that is. */
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

/** A document held open on this node. Every `open` is matched by one `release`. */
export interface LiveDocument {
  readonly key: DocumentKey;
  /** The last committed position that this node has given to its listeners. */
  readonly position: number;
  /**
   * Exports what a reader at `version` (an encoded version vector; empty: knows nothing) lacks and subscribes it, as one step:
   * only committed updates are exported, and none committed later is missed or given twice. Errors: PE422 for a version that
   * does not decode.
   */
  join(version: Uint8Array, listener: UpdateListener): Promise<Joined>;
  /**
   * Decodes and merges the updates of one client batch, then stores them; resolves after COMMIT, all of them or none.
   * Errors: PE403 (may not write this space), PE413 (over a limit), PE422 (does not decode, lacks its dependencies, breaks the
   * declared fields). Any other error: the outcome is unknown or the database is away; the client has to join again.
   */
  append(updates: readonly Uint8Array[], author: Author, origin: unknown): Promise<{ seq: number }>;
  /** Fetches what others appended since `position` and gives it to the listeners. */
  refresh(): Promise<void>;
  /** Gives the document back; at no reference it is kept for a while, then forgotten. */
  release(): void;
}

export interface LiveStats {
  /** Documents known on this node, with or without a reader. */
  readonly documents: number;
  /** Of these, the ones whose content is in an engine thread. */
  readonly warm: number;
  /** Appends that are not committed or refused yet. */
  readonly appending: number;
}

/** The documents of this node: each is loaded once, however many rooms and workers use it. */
export interface LiveDocuments {
  /** Opens a document, also one that was never written. Errors: PE404 when its table is not declared. */
  open(key: DocumentKey): Promise<LiveDocument>;
  stats(): LiveStats;
  /** Takes no more appends, waits for those in flight, forgets everything. */
  close(): Promise<void>;
}
