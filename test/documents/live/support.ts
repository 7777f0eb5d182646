import { randomBytes } from "node:crypto";
import { LoroDoc, VersionVector } from "loro-crdt";
import type { Database, Queryable, Transaction } from "../../../src/database/types.js";
import type { DocumentKey } from "../../../src/documents/key.js";
import {
  type Author,
  type CommittedUpdates,
  createLiveDocuments,
  type LiveDocument,
  type LiveDocuments,
  type LiveLimits,
} from "../../../src/documents/live.js";
import { createDocumentEngine, type DocumentEngine } from "../../../src/documents/loro/engine.js";
import type { DocumentLimits } from "../../../src/documents/loro/limits.js";
import { cleanUp, cleanup } from "../../support/cleanup.js";
import type { TestDatabase } from "../../support/databases.js";
import { lendEngine } from "../../support/engines.js";

export { pause, until as eventually } from "../../support/until.js";
export { cleanUp, cleanup };

export const ada: Author = { userId: "ada", clientId: "ada-1" };
export const fields = { title: "string", body: "text" };

export function keyOf(recordId: string, spaceId = "~ada"): DocumentKey {
  return { spaceId, appId: "notes", tableName: "pages", recordId };
}

export async function declare(t: TestDatabase, declared: Record<string, string> = fields): Promise<void> {
  await t.db.query("select perch.declare_table(app_id => 'notes', table_name => 'pages', fields => $1::jsonb)", [
    JSON.stringify(declared),
  ]);
}

export interface Node {
  readonly db: Watched;
  readonly engine: DocumentEngine;
  readonly live: LiveDocuments;
}

export interface NodeOptions {
  db?: Database;
  engine?: DocumentEngine;
  limits?: LiveLimits;
  /** Told of what is logged. */
  warn?: (details: object, message: string) => void;
}

/** A node as the worker role sees the database, closed after the test. */
export async function startNode(t: TestDatabase, options: NodeOptions = {}): Promise<Node> {
  const db = watch(options.db ?? (await t.login("perch_worker")));
  const engine = options.engine ?? lendEngine();
  const live = createLiveDocuments({
    db,
    engine,
    ...(options.limits && { limits: options.limits }),
    ...(options.warn && { log: { warn: options.warn } }),
  });
  cleanup(async () => {
    db.go();
    await live.close();
    if (!options.engine) await engine.close();
  });
  return { db, engine, live };
}

export interface Watched extends Database {
  /** Statements since the last call, by the perch functions or tables they are about. */
  counted(): Record<string, number>;
  /** The next statements that match wait, before they are sent (`before`) or with their answer (`after`). Out: when one has come. */
  hold(match: RegExp, where: "before" | "after"): Promise<void>;
  /** The parameters of those that wait. */
  held(): readonly (readonly unknown[])[];
  /** Those that wait go on, or fail: after their effect when they were held there. */
  go(failure?: Error): void;
}

/** The real database, with a hand on the line: every statement is sent, some later. */
export function watch(db: Database): Watched {
  let counts: Record<string, number> = {};
  let gates: { match: RegExp; where: "before" | "after"; reached(): void; open: Promise<Error | undefined> }[] = [];
  let releases: ((failure?: Error) => void)[] = [];
  let waiting: (readonly unknown[])[] = [];

  async function pass<T>(sql: string, params: readonly unknown[], send: () => Promise<T>): Promise<T> {
    const named = new Set(Array.from(sql.matchAll(/perch\.(\w+)/g), ([, name = ""]) => name));
    for (const name of named.size > 0 ? named : ["other"]) counts[name] = (counts[name] ?? 0) + 1;
    const held = gates.find((gate) => gate.match.test(sql));
    const wait = async () => {
      if (held) waiting.push(params);
      held?.reached();
      const failure = await held?.open;
      if (failure) throw failure;
    };
    if (held?.where === "before") await wait();
    const result = await send();
    if (held?.where === "after") await wait();
    return result;
  }

  const through = (inner: Queryable): Queryable => ({
    query: (sql, params, how) => pass(sql, params ?? [], () => inner.query(sql, params, how)),
  });

  return {
    ...db,
    ...through(db),
    transaction: (work) =>
      pass("perch.transaction", [], () => db.transaction((tx) => work({ ...tx, ...through(tx) } as Transaction))),
    counted() {
      const result = counts;
      counts = {};
      return result;
    },
    hold(match, where) {
      return new Promise((reached) => {
        const open = new Promise<Error | undefined>((resolve) => {
          releases.push(resolve);
        });
        gates.push({ match, where, reached, open });
      });
    },
    held: () => waiting,
    go(failure) {
      gates = [];
      waiting = [];
      for (const release of releases.splice(0)) release(failure);
      releases = [];
    },
  };
}

/** What somebody types who has nothing yet: each text as an update that builds on those before it. */
export function typed(texts: Iterable<string>): { updates: Uint8Array[]; peer: string } {
  const doc = new LoroDoc();
  const updates: Uint8Array[] = [];
  doc.subscribeLocalUpdates((update) => updates.push(update));
  for (const text of texts) {
    doc.getText("body").insert(doc.getText("body").length, text);
    doc.commit();
  }
  return { updates, peer: doc.peerIdStr };
}

export interface Client {
  readonly doc: LoroDoc;
  readonly document: LiveDocument;
  /** What the listener was given, in order. */
  readonly heard: CommittedUpdates[];
  readonly ended: () => boolean;
  text(): string;
  /** Types, and sends what was typed. Out: when it is acknowledged. */
  type(letters: string, at?: number): Promise<{ seq: number }>;
  /** Sends whatever the server has not been sent. */
  send(): Promise<{ seq: number }>;
  leave(): void;
}

/** A Loro client of one node: joins with what it has (`doc`), and sends what the node lacks of that; types, applies what it hears. */
export async function connect(
  node: Node,
  key: DocumentKey,
  author: Author = ada,
  doc: LoroDoc = new LoroDoc(),
): Promise<Client> {
  const document = await node.live.open(key);
  const heard: CommittedUpdates[] = [];
  let over = false;
  const self = {};
  const joined = await document.join(
    doc.oplogVersion().encode(),
    (committed) => {
      heard.push(committed);
      if (committed.origin !== self) for (const update of committed.updates) doc.import(update);
    },
    () => {
      over = true;
    },
  );
  for (const update of joined.updates) doc.import(update);
  let sent = VersionVector.decode(joined.version);
  const send = () => {
    doc.commit();
    const update = doc.export({ mode: "update", from: sent });
    sent = doc.oplogVersion();
    return document.append([update], author, self);
  };
  let left = false;
  const leave = () => {
    if (left) return;
    left = true;
    joined.leave();
    document.release();
  };
  cleanup(leave);
  const lacking = doc.oplogVersion().compare(sent);
  if (lacking === 1 || lacking === undefined) await send();
  sent = doc.oplogVersion();
  return {
    doc,
    document,
    heard,
    ended: () => over,
    text: () => doc.getText("body").toString(),
    type(letters, at) {
      const body = doc.getText("body");
      body.insert(Math.min(at ?? body.length, body.length), letters);
      return send();
    },
    send,
    leave,
  };
}

/** An engine that counts its calls by method. */
export function countingEngine(limits?: Partial<DocumentLimits>): {
  engine: DocumentEngine;
  calls: Record<string, number>;
} {
  const inner = limits === undefined ? lendEngine() : createDocumentEngine({ threads: 1, limits });
  cleanup(() => inner.close());
  const calls: Record<string, number> = {};
  const call: DocumentEngine["call"] = (key, method, args, options) => {
    calls[method] = (calls[method] ?? 0) + 1;
    return inner.call(key, method, args, options);
  };
  return { engine: { ...inner, call }, calls };
}

/** The body that is stored, as a reader of the tables would build it. */
export async function storedText(db: Queryable, key: DocumentKey): Promise<string> {
  const [row] = await db.query<{ snapshot: Uint8Array | null; updates: Uint8Array[] }>(
    "select snapshot, updates from perch.load_document(space_id => $1, app_id => $2, table_name => $3, record_id => $4)",
    [key.spaceId, key.appId, key.tableName, key.recordId],
  );
  const doc = new LoroDoc();
  const blobs = [...(row?.snapshot ? [row.snapshot] : []), ...(row?.updates ?? [])];
  for (const blob of blobs) {
    const { pending } = doc.import(blob);
    if (pending && pending.size > 0) throw new Error("what is stored lacks something it builds on");
  }
  return doc.getText("body").toString();
}

/** Where the updates in the tail of a document end, as they were stored. */
export async function storedEnds(db: Queryable, { recordId }: DocumentKey): Promise<Record<string, number>[]> {
  const rows = await db.query<{ ends: Record<string, number> }>(
    "select ends from perch.document_updates where record_id = $1 order by seq",
    [recordId],
  );
  return rows.map(({ ends }) => ends);
}

/** An update by a stranger with a document of its own. */
export function strangersUpdate(edit: (doc: LoroDoc) => void): Uint8Array {
  const doc = new LoroDoc();
  edit(doc);
  doc.commit();
  return doc.export({ mode: "update" });
}

/** An engine of one thread, and an update that is more than its memory holds: importing it traps the thread. */
export function fragileEngine(): { engine: DocumentEngine; trapping: Uint8Array } {
  const limits = { wasmBytes: 8 * 2 ** 20, updateBytes: 8 * 2 ** 20, updateOps: 10_000_000 };
  const engine = createDocumentEngine({ threads: 1, limits });
  cleanup(() => engine.close());
  const trapping = strangersUpdate((doc) => doc.getText("body").insert(0, "x".repeat(3_900_000)));
  return { engine, trapping };
}

const documentTables = [
  "documents",
  "document_snapshots",
  "document_updates",
  "document_history",
  "document_inbox",
  "document_tombstones",
  "document_queue",
  "encrypted_documents",
  "encrypted_records",
  "encrypted_reaches",
];

/** Notes what the database has of a document. Out: takes it back to that, as a restore or a failover to a late standby does. */
export async function rememberDocument(
  db: Database,
  { recordId }: Pick<DocumentKey, "recordId">,
): Promise<() => Promise<void>> {
  const kept = new Map<string, string>();
  for (const table of documentTables) {
    const [row] = await db.query<{ rows: string }>(
      `select coalesce(jsonb_agg(to_jsonb(x)), '[]')::text as rows from perch.${table} x where x.record_id = $1`,
      [recordId],
    );
    kept.set(table, row?.rows ?? "[]");
  }
  return () =>
    db.transaction(async (tx) => {
      for (const [table, rows] of kept) {
        await tx.query(`delete from perch.${table} where record_id = $1`, [recordId]);
        await tx.query(
          `insert into perch.${table} select * from jsonb_populate_recordset(null::perch.${table}, $1::jsonb)`,
          [rows],
        );
      }
    });
}

export const freshId = (prefix = "doc"): string => `${prefix}-${randomBytes(4).toString("hex")}`;
