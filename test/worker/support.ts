import { LoroDoc } from "loro-crdt";
import { isPassing } from "../../src/database/errors.js";
import type { Database, Queryable } from "../../src/database/types.js";
import type { DocumentKey } from "../../src/documents/key.js";
import { startWorker, type Worker, type WorkerSettings } from "../../src/worker/index.js";
import { cleanup, type Node, type NodeOptions, startNode } from "../documents/live/support.js";
import type { TestDatabase } from "../support/databases.js";
import { until } from "../support/until.js";

export interface WorkerNode extends Node {
  readonly worker: Worker;
  /** What the worker logged as a warning. */
  readonly warnings: { message: string; details: Record<string, unknown> }[];
}

export interface WorkerNodeOptions extends NodeOptions {
  settings?: Partial<WorkerSettings>;
  /** Whether notifications reach it; without, it has its poll only. */
  deaf?: boolean;
}

/** A node with a worker, stopped after the test. */
export async function startWorkerNode(t: TestDatabase, options: WorkerNodeOptions = {}): Promise<WorkerNode> {
  const node = await startNode(t, options);
  const warnings: WorkerNode["warnings"] = [];
  const db: Database = options.deaf
    ? { ...node.db, listen: (channels, on) => node.db.listen(channels, { ...on, notify: () => undefined }) }
    : node.db;
  const worker = await startWorker({
    db,
    live: node.live,
    log: {
      info: () => undefined,
      warn: (details, message) => warnings.push({ message, details: details as Record<string, unknown> }),
    },
    ...(options.settings && { settings: options.settings }),
  });
  cleanup(() => worker.close());
  return { ...node, worker, warnings };
}

/** A row as a document. As clients do, it asks again when no worker has come to it in time: a thread may just be starting. */
export async function adopt({ live }: Pick<Node, "live">, key: DocumentKey): Promise<void> {
  const tried = () =>
    live.adopt(key).then(
      () => ({}),
      (error: unknown) => (isPassing(error) ? undefined : { error }),
    );
  const { error } = await until<{ error?: unknown } | undefined>(tried, "the row to be a document");
  if (error !== undefined) throw error;
}

export async function pushUpdate(db: Queryable, key: DocumentKey, update: Uint8Array): Promise<number> {
  const [row] = await db.query<{ seq: number }>(
    "select perch.push_update(app_id => $1, table_name => $2, record_id => $3, space_id => $4, update => $5) as seq",
    [key.appId, key.tableName, key.recordId, key.spaceId, update],
  );
  return row?.seq ?? 0;
}

export async function patchDocument(
  db: Queryable,
  key: DocumentKey,
  patch: object,
  baseSeq: number | null = null,
): Promise<number> {
  const [row] = await db.query<{ seq: number }>(
    "select perch.patch_document(app_id => $1, table_name => $2, record_id => $3, space_id => $4, patch => $5, base_seq => $6) as seq",
    [key.appId, key.tableName, key.recordId, key.spaceId, JSON.stringify(patch), baseSeq],
  );
  return row?.seq ?? 0;
}

/** What is in the inbox, pending or set aside. */
export function inbox(db: Queryable): Promise<{ seq: number; status: string; error: { code: string } | null }[]> {
  return db.query("select seq, status, error from perch.document_inbox order by record_id, seq");
}

export async function record(db: Queryable, key: DocumentKey): Promise<Record<string, unknown> | undefined> {
  const [row] = await db.query<{ data: Record<string, unknown> }>(
    "select data from perch.records where space_id = $1 and record_id = $2",
    [key.spaceId, key.recordId],
  );
  return row?.data;
}

/** A document of one's own, and what it would push. */
export function replica(): { doc: LoroDoc; type(letters: string, at?: number): Uint8Array } {
  const doc = new LoroDoc();
  return {
    doc,
    type(letters, at) {
      const from = doc.oplogVersion();
      const body = doc.getText("body");
      body.insert(at ?? body.length, letters);
      doc.commit();
      return doc.export({ mode: "update", from });
    },
  };
}
