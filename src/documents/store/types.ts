import type { Transaction } from "../../database/types.js";
import type { DocumentAddress, DocumentKey } from "../key.js";
import type { DocumentEngine, DocumentEngineOptions } from "../loro/engine.js";

/** The address of a document to write. Without `recordId` a new document is made, with a UUIDv7. */
export type WritableAddress = Omit<DocumentAddress, "recordId"> & { readonly recordId?: string | undefined };

export interface DocumentWriteOptions {
  readonly clientId?: string | undefined;
}

export interface PatchOptions extends DocumentWriteOptions {
  /** The position the patch was based on; default: what the transaction sees. Of another incarnation or a forgotten position: PE410. */
  readonly baseSeq?: number | undefined;
  /** What came with `baseSeq` as `revision`: then PE410 also tells that the database went back and has something else there. */
  readonly baseRevision?: number | undefined;
}

export interface Written {
  readonly recordId: string;
  /** The document's position; what it was before when nothing changed. */
  readonly seq: number;
  /** What identifies that position; see `baseRevision`. */
  readonly revision: number;
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
