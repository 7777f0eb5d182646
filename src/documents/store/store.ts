import type { Transaction } from "../../database/types.js";
import { type DocumentAddress, type DocumentKey, documentId } from "../key.js";
import { newRevision, type Position } from "../live/queries.js";
import { isPacked, unpacked } from "../live/unpack.js";
import type { Ends, ServerPeer } from "../loro/api.js";
import { createDocumentEngine, type DocumentEngine } from "../loro/engine.js";
import { patchBase } from "../patch-base.js";
import { ownersOf, peersIn } from "../peer-owners.js";
import { afterWriting, createServerPeers } from "../server-peers.js";
import { type DocumentVersion, documentVersions, type VersionsOptions, versionAt } from "../versions.js";
import { type CachedProjection, handOut, type Projection, projectChanged, projectWhole } from "./cached-projection.js";
import { mergeColumnWrites } from "./column-writes.js";
import { hasWritten, type OpenedDocument, openForWrite } from "./open-for-write.js";
import { type Ahead, createReplica, type DocumentReplica, type View } from "./replica.js";
import type {
  DocumentHooks,
  DocumentStoreOptions,
  DocumentWriteOptions,
  HookEvent,
  PatchOptions,
  WritableAddress,
  Written,
} from "./types.js";
import { uuidV7 } from "./uuid.js";
import { asWorker } from "./worker-role.js";
import { append, type Made, parts, project, writeAtOnce } from "./writing.js";

export type * from "./types.js";

/** What a store keeps of the JSON of all its documents, those used last before the others. */
const maxProjectionBytes = 128 * 1024 * 1024;

/** Stores that share an engine have a replica each of a document: they may see it at different positions. */
let stores = 0;

/**
 * Loro documents inside the caller's own transaction (see `withContext`): the update, the record and its log entry commit together
 * with whatever else the caller writes, or none of them does. The login needs the roles perch_app and perch_worker.
 * While the transaction is open, other writers of the same document wait for it: keep it short.
 *
 * Errors of every operation: PE401 without a user, PE403 when the space may not be read (or written), PE404 when the table is not declared.
 */
export class DocumentStore {
  readonly #engine: DocumentEngine;
  readonly #ownsEngine: boolean;
  readonly #maxDocuments: number;
  readonly #hooks: DocumentHooks;
  readonly #peers = createServerPeers();
  readonly #name = `store ${++stores}: `;
  /** In the order of their last use, the longest ago first. There is one replica of a document, until it was dropped and nobody waits for it. */
  readonly #replicas = new Map<string, Held>();

  constructor(options: DocumentStoreOptions = {}) {
    this.#engine = options.engine ?? createDocumentEngine(options.engineOptions);
    this.#ownsEngine = options.engine === undefined;
    this.#maxDocuments = options.maxDocuments ?? 500;
    this.#hooks = options.hooks ?? {};
  }

  /**
   * Applies a JSON patch (as `perch.patch_document` takes it), in memory and in the transaction.
   * Errors besides: PE410 for a forgotten `baseSeq`, PE413, PE422 naming table, field, expected and got.
   */
  applyPatch(
    tx: Transaction,
    address: WritableAddress,
    patch: object | string,
    options: PatchOptions = {},
  ): Promise<Written> {
    const { baseSeq, baseRevision } = options;
    return this.#write(tx, address, options, async ({ key, userId }) => {
      const request = { key, seq: 0, userId, baseRevision, merged: [] };
      const base = baseSeq === undefined ? "head" : await asWorker(tx, () => patchBase(tx, { ...request, baseSeq }));
      return (id) =>
        this.#written(id, (peers) => this.#engine.call(id, "patch", [id, patch, base, { show: true, peers }]));
    });
  }

  /**
   * Merges a Loro update or snapshot. Errors besides: PE413, PE422 when it does not decode, lacks its dependencies or
   * breaks the declared fields.
   */
  applyUpdate(
    tx: Transaction,
    address: WritableAddress,
    update: Uint8Array,
    options: DocumentWriteOptions = {},
  ): Promise<Written> {
    return this.#write(tx, address, options, async ({ key, userId }) => {
      // Of a snapshot its operations are stored: it claims a state besides, which others would have to believe.
      const [plain = update] = isPacked([update]) ? await unpacked(this.#engine, userId, [update]) : [update];
      const peers = await peersIn(this.#engine, [plain]);
      return async (id, replica) => {
        const owned = replica.isOwner(userId, peers)
          ? { foreign: [], own: [...peers] }
          : await asWorker(tx, () => ownersOf(tx, key, userId, peers));
        const { changed, ends, updates } = await this.#engine.call(id, "import", [id, [plain], owned]);
        replica.wrote(
          userId,
          Object.keys(ends).filter((peer) => owned.own.includes(peer)),
        );
        return { update: changed ? (updates?.[0] ?? plain) : null, ends };
      };
    });
  }

  /** The whole document, with its history, as one Loro snapshot; and its position. */
  snapshot(tx: Transaction, address: DocumentAddress): Promise<Position & { snapshot: Uint8Array }> {
    return this.#read(tx, address, async (id, { at }) => {
      const { snapshot } = await this.#engine.call(id, "snapshot", [id]);
      return { snapshot, ...at };
    });
  }

  /**
   * What a reader lacks whose encoded version vector this is (empty: everything). Out: updates, none when there is nothing new,
   * and the version they lead to. Errors besides: PE422 for a version that does not decode.
   */
  updateSince(
    tx: Transaction,
    address: DocumentAddress,
    version: Uint8Array,
  ): Promise<Position & { updates: Uint8Array[]; version: Uint8Array }> {
    const theirs = version.byteLength === 0 ? Uint8Array.of(0) : version;
    return this.#read(tx, address, async (id, { at }) => ({
      ...(await this.#engine.call(id, "exportFrom", [id, theirs])),
      ...at,
    }));
  }

  /**
   * Who changed the document when, the latest first: stretches of one author, each with the position (`seq`) that `at` and `revert`
   * take. Errors besides: PE422.
   */
  versions(tx: Transaction, address: DocumentAddress, options: VersionsOptions = {}): Promise<DocumentVersion[]> {
    return documentVersions(tx, address, options);
  }

  /**
   * The plain JSON of the document as it was at a position: every field declared now, null where it was not set. Errors besides:
   * PE404 for a position the document never came to; PE410 for one of an earlier incarnation, or that was folded away: its detail names
   * those that are known around it.
   */
  async at(tx: Transaction, address: DocumentAddress, seq: number): Promise<Record<string, unknown>> {
    const opened = await this.#open(tx, address, false);
    const version = await asWorker(tx, () => versionAt(tx, opened.key, seq));
    const { data } = await this.#use(tx, opened, (id) => this.#engine.call(id, "projectAt", [id, version]));
    return data;
  }

  /**
   * Sets the document back to what it was at a position, as a new edit of the transaction's user: what others write at the same time
   * is merged, and the history goes on. Errors besides: as for `at`; PE413 when what is brought back is too large for one update.
   */
  revert(tx: Transaction, address: DocumentAddress, seq: number, options: DocumentWriteOptions = {}): Promise<Written> {
    return this.#write(tx, address, options, async ({ key }) => {
      const version = await asWorker(tx, () => versionAt(tx, key, seq));
      return (id) => this.#written(id, (peers) => this.#engine.call(id, "revert", [id, version, { peers }]));
    });
  }

  /** Deletes the document and its record in the transaction. A document that does not exist: nothing happens. */
  async delete(tx: Transaction, address: DocumentAddress): Promise<void> {
    const opened = await this.#open(tx, address, true);
    const { key, exists } = opened;
    if (!exists) return;
    await this.#tell("before", tx, opened, "delete", () => this.#look(tx, opened));
    await tx.query(
      "select perch.delete_document(space_id => $1, app_id => $2, table_name => $3, record_id => $4)",
      parts(key),
    );
    hasWritten(tx);
    await this.#tell("after", tx, opened, "delete", () => null);
  }

  /** Forgets a document that is held in memory; without an address, all of them. What is stored stays. */
  async evict(key?: DocumentKey): Promise<void> {
    const ids = key ? [this.#idOf(key)] : [...this.#replicas.keys()];
    for (const id of ids) await this.#drop(id);
  }

  /** The documents held in memory, the longest unused first. */
  cachedDocuments(): DocumentKey[] {
    return [...this.#replicas.values()].filter(({ dropped }) => !dropped).map(({ key }) => key);
  }

  /** Ends the engine, unless it is shared: its threads keep the process alive until then. */
  async close(): Promise<void> {
    await this.evict();
    if (this.#ownsEngine) await this.#engine.close();
  }

  /** `await using store = new DocumentStore(…)` closes it at the end of the block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #open(tx: Transaction, address: WritableAddress, toWrite: boolean): Promise<OpenedDocument> {
    const { appId, tableName, recordId = uuidV7(), spaceId = null } = address;
    const known = [...this.#replicas.values()].flatMap(({ key, replica }) => {
      const isIt = key.recordId === recordId && key.tableName === tableName && key.appId === appId;
      return isIt ? replica.known.map((position) => ({ spaceId: key.spaceId, ...position })) : [];
    });
    return openForWrite(tx, { appId, tableName, recordId, spaceId, toWrite, known });
  }

  /** To write, with what was written to its columns merged. */
  async #openMerged(tx: Transaction, address: WritableAddress): Promise<OpenedDocument> {
    let opened = await this.#open(tx, address, true);
    while (opened.waiting) {
      const { key } = opened;
      const merging = opened;
      const merged = await mergeColumnWrites(tx, merging, (patch, ends) =>
        this.#use(tx, merging, (id) =>
          this.#written(id, (peers) => this.#engine.call(id, "patch", [id, patch, { ends }, { peers }])),
        ),
      );
      if (!merged) break;
      // The replica has what this transaction wrote behind the store's back: it is read again.
      await this.#drop(this.#idOf(key));
      opened = await this.#open(tx, { ...address, recordId: key.recordId }, true);
    }
    return opened;
  }

  /** Nothing tells how the transaction ends: the next use finds out what became of this one's operations. */
  async #written<T extends { ends: Ends }>(
    id: string,
    write: (peers: readonly ServerPeer[]) => Promise<T>,
  ): Promise<T> {
    const peers = this.#peers.take(id);
    const made = await write(peers);
    this.#peers.give(id, afterWriting(peers, made.ends));
    return made;
  }

  /** In: what to ask before, in the database, and then of the engine for the replica by that id. */
  async #write(
    tx: Transaction,
    address: WritableAddress,
    { clientId }: DocumentWriteOptions,
    prepare: (opened: OpenedDocument) => Promise<(id: string, replica: DocumentReplica) => Promise<Editing>>,
  ): Promise<Written> {
    const opened = await this.#openMerged(tx, address);
    const op = opened.exists ? "update" : "insert";
    await this.#tell("before", tx, opened, op, () => (opened.exists ? this.#look(tx, opened) : null));
    const change = await prepare(opened);
    const made = await this.#use(tx, opened, async (id, view, replica) => {
      const { update, ends, data: changed } = await change(id, replica);
      // Only what a patch names can have changed by it; the rest is as it was when the record was written.
      const projection =
        changed && view.cached && opened.projected
          ? projectChanged(view.cached, changed)
          : projectWhole(await this.#project(id));
      replica.show(projection.cached);
      if (update === null) return { projection, at: view.at };
      const made: Made = { update, ends, after: view.at, revision: newRevision(), clientId: clientId ?? null };
      return { projection, made, replica, ahead: replica.runAhead() };
    });
    // Behind the turn: what is stored waits for others who write in the same space.
    const { at, cached } = made.ahead
      ? await this.#store(tx, opened, made)
      : { ...made, cached: made.projection.cached };
    this.#boundShown();
    await this.#tell("after", tx, opened, op, () => handOut(cached));
    return { recordId: opened.key.recordId, ...at, data: handOut(cached) };
  }

  async #store(
    tx: Transaction,
    opened: OpenedDocument,
    {
      made,
      projection,
      replica,
      ahead,
    }: { made: Made; projection: Projection; replica: DocumentReplica; ahead: Ahead },
  ): Promise<{ at: Position; cached: CachedProjection }> {
    const { cached } = projection;
    const seq = await writeAtOnce(tx, opened, made, projection);
    if (seq !== undefined) {
      const { update: payload, revision } = made;
      replica.stored(ahead, { seq, revision, payload }, opened, cached);
      return { at: { seq, revision }, cached };
    }
    // A document without a row, which a client made and committed since we looked: it is merged, and shown as it is now.
    const placed = await append(tx, opened, made);
    const merged = await this.#use(tx, opened, async (id, view) => ({
      at: view.at,
      projection: projectWhole(await this.#project(id)),
    }));
    await project(tx, opened, merged.at, merged.projection);
    return { at: { seq: placed, revision: made.revision }, cached: merged.projection.cached };
  }

  /** What hooks are told of a document before it is written. */
  async #look(tx: Transaction, opened: OpenedDocument): Promise<Record<string, unknown>> {
    return this.#use(tx, opened, async (id, { cached }, replica) => {
      if (cached) return handOut(cached);
      const { cached: made } = projectWhole(await this.#project(id));
      replica.show(made);
      this.#boundShown();
      return handOut(made);
    });
  }

  async #tell(
    when: "before" | "after",
    tx: Transaction,
    { key }: OpenedDocument,
    op: HookEvent["op"],
    look: () => HookEvent["data"] | Promise<HookEvent["data"]>,
  ): Promise<void> {
    const hook = this.#hooks[when];
    if (hook) await hook.call(this.#hooks, tx, { op, key, data: await look() });
  }

  /** A document whose JSON is not kept is projected whole with the next write. */
  #boundShown(): void {
    let bytes = 0;
    for (const { replica } of [...this.#replicas.values()].reverse()) {
      bytes += replica.shownBytes;
      if (bytes > maxProjectionBytes) replica.show(undefined);
    }
  }

  async #project(id: string): Promise<Record<string, unknown>> {
    return (await this.#engine.call(id, "project", [id])).data;
  }

  async #read<T>(tx: Transaction, address: DocumentAddress, work: (id: string, view: View) => Promise<T>): Promise<T> {
    return this.#use(tx, await this.#open(tx, address, false), work);
  }

  #use<T>(
    tx: Transaction,
    opened: OpenedDocument,
    work: (id: string, view: View, replica: DocumentReplica) => Promise<T>,
  ): Promise<T> {
    const { key } = opened;
    const id = this.#idOf(key);
    const held = this.#replicas.get(id) ?? { key, replica: createReplica(id, key, this.#engine), dropped: false };
    held.dropped = false;
    this.#replicas.delete(id);
    this.#replicas.set(id, held);
    const kept = [...this.#replicas].filter(([, { dropped }]) => !dropped);
    for (const [oldest] of kept.slice(0, Math.max(0, kept.length - this.#maxDocuments))) void this.#drop(oldest);
    return held.replica.use(tx, opened, (view) => work(id, view, held.replica));
  }

  #idOf(key: DocumentKey): string {
    return `${this.#name}${documentId(key)}`;
  }

  /** In its turn: a second replica would load the document under a name that the first still works on. */
  async #drop(id: string): Promise<void> {
    const held = this.#replicas.get(id);
    if (held === undefined) return;
    held.dropped = true;
    await held.replica.drop();
    if (held.replica.uses === 0 && held.dropped) this.#replicas.delete(id);
  }
}

interface Held {
  readonly key: DocumentKey;
  readonly replica: DocumentReplica;
  /** It is being dropped, unless it is used meanwhile. */
  dropped: boolean;
}

/** What an engine made of a change: the update to store, null when nothing changed. */
interface Editing {
  readonly update: Uint8Array | null;
  readonly ends: Ends;
  /** The fields that can have changed, when not all of them can. */
  readonly data?: Record<string, unknown> | null;
}
