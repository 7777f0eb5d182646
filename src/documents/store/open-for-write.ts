import type { Transaction } from "../../database/types.js";
import { parseFields } from "../declaration.js";
import type { DocumentKey } from "../key.js";
import { type Position, type StoredDocument, type StoredUpdate, storedUpdates } from "../live/queries.js";

/** The address of a document to write. Without `recordId` a new document is made. */
export interface OpenRequest {
  readonly appId: string;
  readonly tableName: string;
  readonly recordId: string;
  readonly spaceId: string | null;
  readonly toWrite: boolean;
  /** Spaces in which the caller has such a document, and at which positions; the first in a space is committed for certain. */
  readonly known: readonly (Position & { readonly spaceId: string })[];
}

/** What there was to be known of a document before it is used in a transaction. */
export interface OpenedDocument {
  readonly key: DocumentKey;
  readonly userId: string;
  readonly toWrite: boolean;
  /** Names the transaction: no two have the same. */
  readonly transaction: string;
  /** Whether it may have written anything before. */
  readonly wrote: boolean;
  /** The declared fields of the document's table, as JSON text: when they changed, the replica is loaded again. */
  readonly declared: string;
  readonly exists: boolean;
  /** Whether the record shows the document's latest position. */
  readonly projected: boolean;
  /** Whether something that plain statements wrote to its columns (of a synced table) is not merged yet. */
  readonly waiting: boolean;
  /** What came after a position the caller has, or the whole document. Undefined once the transaction has written since. */
  found(): Found | undefined;
}

export type Found =
  | { readonly after: Position; readonly updates: readonly StoredUpdate[]; readonly head: Position }
  | { readonly after: null; readonly stored: StoredDocument };

interface OpenedRow {
  user_id: string;
  in_space: string;
  transaction: string;
  wrote: boolean;
  declared: string;
  is_there: boolean;
  projected: boolean;
  after_seq: number | null;
  snapshot: Uint8Array | null;
  snapshot_seq: number;
  seqs: number[];
  updates: Uint8Array[];
  head_seq: number;
  incarnation_seq: number;
  ended: StoredDocument["ended"];
  snapshot_revision: number;
  revisions: number[];
  head_revision: number;
  waiting: boolean;
}

const openForWriteSql = `
  select * from perch.open_in_transaction(app_id => $1, table_name => $2, record_id => $3, space_id => $4, to_write => $5,
                                     known_spaces => $6, known_seqs => $7, known_revisions => $8)`;

/** How often stores have written in a transaction: what was read before may be out of date. */
const writes = new WeakMap<Transaction, number>();

/** Call it when the transaction has written to a document, or may have. */
export function hasWritten(tx: Transaction): void {
  writes.set(tx, (writes.get(tx) ?? 0) + 1);
}

/**
 * Asks for a document on behalf of the transaction's user; to write, it is locked until the transaction ends.
 * Errors: PE401, PE403, PE404 when the table is not declared, PE413, PE422.
 */
export async function openForWrite(tx: Transaction, request: OpenRequest): Promise<OpenedDocument> {
  const { appId, tableName, recordId, spaceId, toWrite, known } = request;
  const before = writes.get(tx);
  const params = [
    appId,
    tableName,
    recordId,
    spaceId,
    toWrite,
    known.map((one) => one.spaceId),
    known.map((one) => one.seq),
    known.map((one) => one.revision),
  ];
  const [row] = await tx.query<OpenedRow>(openForWriteSql, params, { prepare: true });
  if (!row) throw new Error("perch.open_in_transaction returned no row");
  const found = foundIn(row, tableName, known);
  return {
    key: { spaceId: row.in_space, appId, tableName, recordId },
    userId: row.user_id,
    toWrite,
    transaction: row.transaction,
    wrote: row.wrote,
    declared: row.declared,
    exists: row.is_there,
    projected: row.projected,
    waiting: row.waiting,
    found: () => (writes.get(tx) === before ? found : undefined),
  };
}

function foundIn(row: OpenedRow, table: string, known: OpenRequest["known"]): Found {
  const updates = storedUpdates(row);
  const after = known.find((one) => one.spaceId === row.in_space && one.seq === row.after_seq);
  if (row.after_seq !== null && after)
    return { after, updates, head: { seq: row.head_seq, revision: row.head_revision } };
  const stored: StoredDocument = {
    schema: { table, fields: parseFields(JSON.parse(row.declared)) },
    snapshot: row.snapshot,
    snapshotSeq: row.snapshot_seq,
    snapshotRevision: row.snapshot_revision,
    updates,
    headSeq: row.head_seq,
    headRevision: row.head_revision,
    incarnationSeq: row.incarnation_seq,
    ended: row.ended,
    projectionBytes: 0,
  };
  return { after: null, stored };
}
