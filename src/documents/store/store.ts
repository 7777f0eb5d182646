import type { Transaction } from "../../database/types.js";
import { PerchError } from "../../errors.js";
import { type DocumentAddress, type DocumentKey, documentId } from "../key.js";
import { appendEntries, type StoredUpdate } from "../live/stored.js";
import type { Ends } from "../loro/api.js";
import { createDocumentEngine, type DocumentEngine, type DocumentEngineOptions } from "../loro/engine.js";
import { patchBase } from "../patch-base.js";
import { type DocumentVersion, documentVersions, type VersionsOptions, versionAt } from "../versions.js";
import { createCopy, type DocumentCopy, type Visit } from "./copy.js";
import { uuidV7 } from "./uuid.js";
import { asWorker } from "./worker-role.js";

/** The address of a document to write. Without `recordId` a new document is made, with a UUIDv7. */
export type WritableAddress = Omit<DocumentAddress, "recordId"> & { readonly recordId?: string | undefined };

export interface DocumentWriteOptions {
  readonly clientId?: string | undefined;
}

export interface PatchOptions extends DocumentWriteOptions {
  /** The position the patch was based on; default: what the transaction sees. Of another life or a forgotten position: PE410. */
  readonly baseSeq?: number | undefined;
}

export interface Written {
  readonly recordId: string;
  /** The document's position; what it was before when nothing changed. */
  readonly seq: number;
  /** The plain JSON of the document, as its record now has it. */
  readonly data: Record<string, unknown>;
}

/** What a hook is told. `data` is the record's: before the write in `before`, after it in `after`. */
export interface HookEvent {
  readonly op: "insert" | "update" | "delete";
  readonly key: DocumentKey;
  readonly data: Record<string, unknown> | null;
}

/** Called inside the caller's transaction; what they throw ends the operation, and they may write with `tx`. */
export interface DocumentHooks {
  before?(tx: Transaction, event: HookEvent): Promise<void> | void;
  after?(tx: Transaction, event: HookEvent): Promise<void> | void;
}

export interface DocumentStoreOptions {
  /** An engine to share; default: one of its own, closed with the store. */
  readonly engine?: DocumentEngine;
  readonly engineOptions?: DocumentEngineOptions;
  /** Documents kept in memory; default 500. */
  readonly maxDocuments?: number;
  readonly hooks?: DocumentHooks;
}

interface Visited extends Visit {
  readonly user_id: string;
  readonly space_id: string;
  readonly role: string;
  readonly may_read: boolean;
  readonly may_write: boolean;
}

// The backend and the microsecond it began in: no two transactions have both in common.
const visitSql = `
  select u.user_id, s.space_id, current_setting('role') as role,
         s.space_id = any (perch.current_space_ids()) as may_read,
         s.space_id = any (perch.writable_space_ids()) as may_write,
         pg_backend_pid() || ' ' || extract(epoch from transaction_timestamp()) as transaction,
         pg_current_xact_id_if_assigned() is not null as wrote,
         (select t.fields::text from perch.document_tables t where t.app_id = $1 and t.table_name = $2) as declared
    from (select perch.current_user_id() as user_id) u
   cross join lateral (select coalesce($3, perch.personal_space_id(u.user_id)) as space_id) s`;

// Covers the first write, too, when there is no row to lock: of two transactions that make a document the second waits here.
const lockSql = "select perch.lock_document(space_id => $1, app_id => $2, table_name => $3, record_id => $4)";

// The row of the document, as every writer takes it: from here its tail does not grow until this transaction ends.
const lockRowSql = `
  select from perch.documents d
   where d.space_id = $1 and d.app_id = $2 and d.table_name = $3 and d.record_id = $4
     for no key update`;

const projectSql = `
  select from perch.project_document(space_id => $1, app_id => $2, table_name => $3, record_id => $4,
                                     seq => $5, data => $6::jsonb, size => $7)`;

const lockTimeoutMs = 0;

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
  /** In the order of their last use, the longest ago first. */
  readonly #copies = new Map<string, { key: DocumentKey; copy: DocumentCopy }>();

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
    return this.#write(tx, address, options, async ({ key, id, seq, visited }) => {
      const { baseSeq } = options;
      const request = { key, seq, userId: visited.user_id, merged: [] };
      const base = baseSeq === undefined ? "head" : await patchBase(tx, { ...request, baseSeq });
      return this.#engine.call(id, "patch", [id, patch, base]);
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
    return this.#write(tx, address, options, async ({ id }) => {
      const { changed, ends } = await this.#engine.call(id, "import", [id, [update]]);
      return { update: changed ? update : null, ends };
    });
  }

  /** The whole document, with its history, as one Loro snapshot; and its position. */
  snapshot(tx: Transaction, address: DocumentAddress): Promise<{ snapshot: Uint8Array; seq: number }> {
    return this.#read(tx, address, async ({ id, seq }) => {
      const { snapshot } = await this.#engine.call(id, "snapshot", [id]);
      return { snapshot, seq };
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
  ): Promise<{ updates: Uint8Array[]; version: Uint8Array; seq: number }> {
    const theirs = version.byteLength === 0 ? Uint8Array.of(0) : version;
    return this.#read(tx, address, async ({ id, seq }) => ({
      ...(await this.#engine.call(id, "exportFrom", [id, theirs])),
      seq,
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
   * PE404 for a position the document never came to; PE410 for one of an earlier life, or that was folded away: its detail names
   * those that are known around it.
   */
  at(tx: Transaction, address: DocumentAddress, seq: number): Promise<Record<string, unknown>> {
    return this.#read(tx, address, async ({ key, id }) => {
      const version = await versionAt(tx, key, seq);
      return (await this.#engine.call(id, "projectAt", [id, version])).data;
    });
  }

  /**
   * Sets the document back to what it was at a position, as a new edit of the transaction's user: what others write at the same time
   * is merged, and the history goes on. Errors besides: as for `at`; PE413 when what is brought back is too large for one update.
   */
  revert(tx: Transaction, address: DocumentAddress, seq: number, options: DocumentWriteOptions = {}): Promise<Written> {
    return this.#write(tx, address, options, async ({ key, id }) =>
      this.#engine.call(id, "revert", [id, await versionAt(tx, key, seq)]),
    );
  }

  /** Deletes the document and its record in the transaction. A document that does not exist: nothing happens. */
  async delete(tx: Transaction, address: DocumentAddress): Promise<void> {
    const { key, visited } = await this.#visit(tx, address, true);
    await tx.query(lockSql, parts(key));
    const { data, exists } = await this.#look(tx, key, visited);
    if (!exists) return;
    await this.#hooks.before?.(tx, { op: "delete", key, data });
    await tx.query(
      "select perch.delete_document(space_id => $1, app_id => $2, table_name => $3, record_id => $4)",
      parts(key),
    );
    await this.#hooks.after?.(tx, { op: "delete", key, data: null });
  }

  /** Forgets a document that is held in memory; without an address, all of them. What is stored stays. */
  async evict(key?: DocumentKey): Promise<void> {
    const ids = key ? [documentId(key)] : [...this.#copies.keys()];
    for (const id of ids) await this.#drop(id);
  }

  /** The documents held in memory, the longest unused first. */
  cachedDocuments(): DocumentKey[] {
    return [...this.#copies.values()].map(({ key }) => key);
  }

  /** Ends the engine, unless it is shared. */
  async close(): Promise<void> {
    await this.evict();
    if (this.#ownsEngine) await this.#engine.close();
  }

  async #visit(
    tx: Transaction,
    address: WritableAddress,
    toWrite: boolean,
  ): Promise<{ key: DocumentKey; visited: Visited }> {
    const { appId, tableName, recordId = uuidV7(), spaceId = null } = address;
    const [visited] = await tx.query<Visited>(visitSql, [appId, tableName, spaceId]);
    if (!visited || visited.user_id === null)
      throw new PerchError("PE401", "no user is named in this transaction; see withContext");
    if (!(toWrite ? visited.may_write : visited.may_read)) {
      throw new PerchError("PE403", `this user may not ${toWrite ? "write" : "read"} this space`, {
        space_id: visited.space_id,
      });
    }
    if (visited.declared === null) {
      throw new PerchError("PE404", "this is not a document table", { app_id: appId, table: tableName });
    }
    return { key: { spaceId: visited.space_id, appId, tableName, recordId }, visited };
  }

  async #write(
    tx: Transaction,
    address: WritableAddress,
    { clientId = null }: { clientId?: string | null | undefined },
    change: (copy: Held) => Promise<{ update: Uint8Array | null; ends: Ends }>,
  ): Promise<Written> {
    const { key, visited } = await this.#visit(tx, address, true);
    await tx.query(lockSql, parts(key));
    const hooked = this.#hooks.before !== undefined || this.#hooks.after !== undefined;
    const { exists, data: before } = hooked ? await this.#look(tx, key, visited) : { exists: false, data: null };
    const op = exists ? "update" : "insert";
    await this.#hooks.before?.(tx, { op, key, data: before });

    const written = await asWorker(tx, async () => {
      await tx.query(lockRowSql, parts(key));
      return this.#use(tx, key, visited, async (held) => {
        const { update, ends } = applicable(await change(held));
        if (update === null) return { seq: held.seq, data: await this.#project(held) };
        const author = { userId: visited.user_id, writable: visited.may_write, clientId };
        const [result] = await appendEntries(
          tx,
          [{ key, afterSeq: held.seq, updates: [{ payload: update, ends, ...author }] }],
          lockTimeoutMs,
        );
        const [placed] = result?.results ?? [];
        if (!result || !placed || result.anew) throw new Error("the document changed while its row was locked");
        if ("refused" in placed) throw refusal(placed.refused, key);
        // Only of a document without a row: a client made it, and committed, since we looked.
        if (result.missed.length > 0)
          await this.#engine.call(held.id, "import", [held.id, result.missed.map(({ payload }) => payload)]);
        for (const stored of [...result.missed, { seq: placed.seq, payload: update } satisfies StoredUpdate])
          held.copy.stored(stored, visited);
        const data = await this.#project(held);
        const json = JSON.stringify(data);
        await tx.query(projectSql, [...parts(key), placed.seq, json, Buffer.byteLength(json)]);
        return { seq: placed.seq, data };
      });
    });
    await this.#hooks.after?.(tx, { op, key, data: written.data });
    return { recordId: key.recordId, ...written };
  }

  /** What hooks are told of a document before it is written. */
  #look(
    tx: Transaction,
    key: DocumentKey,
    visited: Visited,
  ): Promise<{ exists: boolean; data: Record<string, unknown> | null }> {
    return asWorker(tx, async () => {
      const exists = (await tx.query(lockRowSql, parts(key))).length > 0;
      return { exists, data: exists ? await this.#use(tx, key, visited, (held) => this.#project(held)) : null };
    });
  }

  async #project({ id }: Held): Promise<Record<string, unknown>> {
    return (await this.#engine.call(id, "project", [id])).data;
  }

  async #read<T>(tx: Transaction, address: DocumentAddress, work: (held: Held) => Promise<T>): Promise<T> {
    const { key, visited } = await this.#visit(tx, address, false);
    return asWorker(tx, () => this.#use(tx, key, visited, work));
  }

  #use<T>(tx: Transaction, key: DocumentKey, visited: Visited, work: (held: Held) => Promise<T>): Promise<T> {
    const id = documentId(key);
    const held = this.#copies.get(id) ?? { key, copy: createCopy(id, key, this.#engine) };
    this.#copies.delete(id);
    this.#copies.set(id, held);
    for (const oldest of [...this.#copies.keys()].slice(0, Math.max(0, this.#copies.size - this.#maxDocuments)))
      void this.#drop(oldest);
    return held.copy.use(tx, visited, ({ seq }) => work({ key, id, seq, copy: held.copy, visited }));
  }

  async #drop(id: string): Promise<void> {
    const held = this.#copies.get(id);
    this.#copies.delete(id);
    held?.copy.forget();
    // A thread that is being replaced has forgotten it already.
    await this.#engine.call(id, "drop", [id]).catch(() => undefined);
  }
}

/** A document in use: brought to what the transaction sees, and nobody else's turn. */
interface Held {
  readonly key: DocumentKey;
  readonly id: string;
  readonly seq: number;
  readonly copy: DocumentCopy;
  readonly visited: Visited;
}

/** An engine's answer, without what only readers need. */
function applicable({ update, ends }: { update: Uint8Array | null; ends: Ends }) {
  return { update, ends };
}

function refusal(code: string, key: DocumentKey): PerchError {
  const why = code === "PE413" ? "the update is over the limit" : "the document was deleted meanwhile";
  const limit = code === "PE413" ? { limit: "max_update_bytes" } : {};
  return new PerchError(code === "PE413" ? "PE413" : "PE410", why, { ...key, ...limit });
}

function parts({ spaceId, appId, tableName, recordId }: DocumentKey): string[] {
  return [spaceId, appId, tableName, recordId];
}
