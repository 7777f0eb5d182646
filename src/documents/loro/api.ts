import type { DocumentSchema } from "./fields.js";

export interface Version {
  /** Encoded version vector, at least one byte. */
  version: Uint8Array;
}

/** For each Loro peer, the counter behind its last operation: a version in plain JSON, and what can be stored as such. */
export type Ends = Readonly<Record<string, number>>;

/** A Loro peer of this process's own, and where its operations in a document end; see `../server-peers.ts`. */
export interface ServerPeer {
  readonly peer: string;
  readonly end: number;
}

/** The version a patch was made against. */
export type PatchBase =
  /** Whatever the document is now. */
  | "head"
  /** An encoded version vector, as load, import and the others give it. */
  | Version
  /** The same, in plain JSON; of every peer known then. `orElse`: an earlier one, for where that turns out to be no version there ever was. */
  | { ends: Ends; orElse?: Ends }
  /** What the document consisted of then: its version is read off the blobs' headers, none is decoded. */
  | { snapshot: Uint8Array | null; updates: readonly Uint8Array[] };

export interface WriteOptions {
  /** Peers of perch's own that nobody else writes under meanwhile (see server-peers.ts): one of them is used, if it may, or a new one. */
  readonly peers?: readonly ServerPeer[];
}

export interface EngineImportOptions {
  /** Peers of others, under which nothing new is taken, and of the sender, who has them for himself (see peer-owners.ts). */
  readonly foreign?: readonly string[];
  readonly own?: readonly string[];
}

/**
 * What an engine thread can do with documents. `id` names one document; the caller uses the same string as the shard key.
 *
 * Every method but load, has and drop fails with `not_loaded` (see `isNotLoaded`) when the thread does not hold the document: never loaded,
 * evicted, dropped, or the thread was replaced. Load it, then call again.
 * A refusal after which the thread no longer trusts its replica says `dropped: true` in the error's detail.
 */
export interface DocumentThreadApi {
  /**
   * Builds the document from what is stored, replacing a replica held before. `ended`: what the document's earlier incarnations had in them,
   * before it was deleted. `shownBytes`: the size of its plain JSON, as far as it is known. Out: its version.
   * Errors: PE422 when the stored bytes do not make a whole document.
   */
  load(
    id: string,
    schema: DocumentSchema,
    snapshot: Uint8Array | null,
    updates: readonly Uint8Array[],
    ended?: Ends,
    shownBytes?: number,
  ): Version;
  has(id: string): boolean;
  /**
   * Updates and snapshots of strangers, the snapshots as updates of the same operations. Needs no document. Decoding a snapshot can
   * take long, whatever its size, so whoever serves others meanwhile has it done apart. Errors: PE413, PE422 as `import`.
   */
  unpack(updates: readonly Uint8Array[]): { updates: Uint8Array[] };
  /**
   * Merges updates or snapshots of strangers: all or none. Out: whether anything was new, where the new operations end, the version
   * afterwards, and `updates`: null, or what is to be stored and passed on in place of those given, which cannot be trusted in
   * every place (a snapshot claims a state, not only operations; headers may lie). `forked`: others had written under the sender's peer,
   * whose edits are in `updates` under another. Errors: PE410 when one belongs to an incarnation of the document that has
   * ended, PE413 over a limit, PE422 when one does not decode, lacks its dependencies, or writes outside the declared fields.
   */
  import(
    id: string,
    updates: readonly Uint8Array[],
    options?: EngineImportOptions,
  ): Version & { changed: boolean; ends: Ends; updates: Uint8Array[] | null; room: number; forked: boolean };
  /**
   * The appends of one writer that wait together, as one: what importing costs besides the operations is paid once. All or none, as
   * `import`. Out: for each append where its operations end; null, with nothing done, when an append does more than go on where
   * its peers stood: then they are for `import`, one by one. `updates`: for each append what to store in its place, or null. Errors: as
   * `import`, of any of them.
   */
  importRun(
    id: string,
    appends: readonly (readonly Uint8Array[])[],
  ): { ends: Ends[] | null; updates: (Uint8Array[] | null)[]; room: number };
  /** The peers that updates say they hold operations of. Needs no document. Errors: PE422. */
  peers(updates: readonly Uint8Array[]): { peers: string[] };
  /**
   * Merges updates in their order, and looks at none of them: they are stored already, or whoever calls has seen that they only go on with
   * typing (see typing.ts). `room`, above: the bytes of the latter that the document has room for; beyond, they are for `import`. `show`: out comes
   * the plain JSON of the fields that they can have changed, null where that cannot be told. Errors: PE422, should one not merge after all.
   */
  importChecked(
    id: string,
    updates: readonly Uint8Array[],
    options?: { readonly show?: boolean },
  ): { data: Record<string, unknown> | null };
  /** What a reader with `version` lacks; no updates when nothing. Errors: PE422 for a version that does not decode. */
  exportFrom(id: string, version: Uint8Array): Version & { updates: Uint8Array[] };
  /** The whole history in one blob. */
  snapshot(id: string): Version & { snapshot: Uint8Array };
  /** The plain JSON of the document: every declared field, null when never set. */
  project(id: string): { data: Record<string, unknown> };
  /**
   * Applies a JSON patch at `base` and merges the result. `patch` is the object, or its JSON text (which keeps integers beyond 2^53).
   * Out: the update to store and where its operations end; null when the patch changes nothing. The replica held already contains it: drop
   * the document if
   * it is not stored after all. `show`: also the plain JSON of the fields that it names, afterwards.
   * Errors: PE422 naming table, field, expected and got; nothing was applied then.
   */
  patch(
    id: string,
    patch: string | object,
    base: PatchBase,
    options?: WriteOptions & { readonly show?: boolean },
  ): { update: Uint8Array | null; ends: Ends; data: Record<string, unknown> | null };
  /** The plain JSON of the document as it was at a version, of every field declared now. Errors: PE422 when it never had that version. */
  projectAt(id: string, version: Ends): { data: Record<string, unknown> };
  /**
   * Sets the document back to what it was at a version, by new operations. Out, and what to do with it: as with `patch`.
   * Errors: PE422 when it never had that version.
   */
  revert(id: string, version: Ends, options?: WriteOptions): { update: Uint8Array | null; ends: Ends };
  drop(id: string): void;
  /** Documents held, and their estimated size. */
  stats(): { documents: number; estimatedBytes: number };
}

const notLoadedCode = "not_loaded";

export function notLoaded(id: string): Error {
  return Object.assign(new Error(`the engine does not hold document ${id}`), { code: notLoadedCode });
}

/** Whether a call failed only because the thread does not hold the document: load it and call again. */
export function isNotLoaded(error: unknown): boolean {
  return error instanceof Error && (error as { code?: unknown }).code === notLoadedCode;
}
