import type { Database } from "../../database/types.js";
import { type DocumentKey, documentId } from "../key.js";
import type { DocumentEngine } from "../loro/engine.js";
import { createServerPeers } from "../server-peers.js";
import { createAuthorLimits } from "./author-limits.js";
import { createCatchUpBatcher } from "./catch-up.js";
import { createDocument, type Document, type DocumentFigures } from "./document.js";
import { createExportCache } from "./export-cache.js";
import { createGroupCommit, type GroupCommitOptions } from "./group-commit.js";
import { createPreloader } from "./preload.js";
import { createRowAdopter } from "./row-adopter.js";
import type { CommitNotice, LiveDocument, LiveDocuments, LiveStats, Look } from "./types.js";

export interface LiveLimits extends GroupCommitOptions {
  /** How long a document that nobody has open is kept. Default 30,000. */
  idleMs?: number;
  /** Documents that nobody has open and that are kept nevertheless, at most; the longest unused go first. Default 500. */
  idleDocuments?: number;
  /** How long closing waits for what is under way; the database may be away. Default 4,000. */
  closeMs?: number;
}

/** Where this layer reports what nobody waits for; a pino logger is one. */
export interface LiveLog {
  warn(details: object, message: string): void;
}

export interface LiveOptions {
  db: Database;
  /** Reads what is stored, where there is somebody besides `db` who knows all that is known; `db` when not given. */
  look?: Look | undefined;
  /** The same for appending, where a process keeps connections for that; `db` when not given. */
  appendsDb?: Database | undefined;
  engine: DocumentEngine;
  limits?: LiveLimits | undefined;
  log?: LiveLog | undefined;
}

/** The documents of this node. In: the database, as a login with perch_worker, and the engine; both stay the caller's to close. */
export function createLiveDocuments({
  db,
  look = (read) => read(db),
  appendsDb = db,
  engine,
  limits = {},
  log,
}: LiveOptions): LiveDocuments {
  const idleMs = limits.idleMs ?? 30_000;
  const idleDocuments = limits.idleDocuments ?? 500;
  const groupCommit = createGroupCommit(appendsDb, limits);
  const catchUpBatcher = createCatchUpBatcher(appendsDb);
  const authorLimits = createAuthorLimits();
  const exportCache = createExportCache();
  const peers = createServerPeers();
  const preloader = createPreloader(engine.stats().threads);
  const documents = new Map<string, Document>();
  const opening = new Map<string, Promise<Document>>();
  /** Of those, the highest notification that came meanwhile. */
  const heard = new Map<string, number>();
  /** Without a reference, longest unused first, and since when. */
  const unused = new Map<Document, number>();
  const committedListeners = new Set<(document: LiveDocument, notice: CommitNotice) => void>();
  const unexplainedListeners = new Set<(key: DocumentKey) => void>();
  let notifyLagMs: number | undefined;
  let brokenTails = 0;
  let closing: Promise<void> | undefined;

  const warn = (message: string, error: unknown, document?: string) => log?.warn({ err: error, document }, message);

  function tell<Args extends unknown[]>(listeners: ReadonlySet<(...args: Args) => void>, ...args: Args): void {
    for (const listener of listeners) {
      try {
        listener(...args);
      } catch (error) {
        warn("a listener threw", error);
      }
    }
  }

  async function load(id: string, key: DocumentKey): Promise<Document> {
    const document = createDocument(key, {
      db,
      look,
      engine,
      groupCommit,
      catchUpBatcher,
      authorLimits,
      exportCache,
      peers,
      preloader,
      warn,
      committed: (committed, notice) => tell(committedListeners, committed, notice),
      arrived: (lagMs) => {
        notifyLagMs = lagMs;
      },
      broken: ({ after, updates, error }, name) => {
        brokenTails++;
        const details = { err: error, document: name, position: after, updates };
        log?.warn(
          details,
          "the tail of a document did not hold together; what is behind the position is merged anew, or set aside",
        );
      },
      unexplained: (unexplained) => tell(unexplainedListeners, unexplained),
      released,
    });
    try {
      await document.begin();
      documents.set(id, document);
      const beyond = heard.get(id);
      if (beyond !== undefined) document.notified(beyond);
      return document;
    } finally {
      heard.delete(id);
    }
  }

  function released(document: Document): void {
    unused.set(document, Date.now());
    if (unused.size > idleDocuments) forgetUnused();
  }

  /** Documents that still have something under way stay until the next time. */
  function forgetUnused(): void {
    const before = Date.now() - idleMs;
    for (const [document, since] of unused) {
      if (since > before && unused.size <= idleDocuments) break;
      if (!document.quiet) continue;
      unused.delete(document);
      documents.delete(document.id);
      document.forget();
    }
  }

  function clean(): void {
    forgetUnused();
    exportCache.forget(idleMs);
  }

  const sweep = setInterval(clean, Math.max(100, idleMs / 3));
  sweep.unref();

  async function open(key: DocumentKey): Promise<LiveDocument> {
    if (closing) throw new Error("this node is closing");
    const id = documentId(key);
    let document = documents.get(id);
    if (!document) {
      let loading = opening.get(id);
      if (!loading) {
        loading = load(id, key).finally(() => opening.delete(id));
        opening.set(id, loading);
      }
      document = await loading;
    }
    unused.delete(document);
    document.retain();
    return document;
  }

  async function close(): Promise<void> {
    clearInterval(sweep);
    for (const document of documents.values()) document.close();
    authorLimits.close();
    const end = Date.now() + (limits.closeMs ?? 4_000);
    // What was being opened arrives meanwhile, and is closed as well.
    const busy = () => {
      for (const document of documents.values()) document.close();
      return opening.size > 0 || [...documents.values()].some((document) => !document.quiet);
    };
    while (busy()) {
      if (Date.now() > end) {
        log?.warn(
          {},
          "closing did not wait any longer for appends whose outcome is not known; their clients send them again",
        );
        break;
      }
      await new Promise((done) => setTimeout(done, 5));
    }
    await Promise.race([
      groupCommit.close(),
      new Promise((done) => setTimeout(done, Math.max(0, end - Date.now())).unref()),
    ]);
    for (const document of documents.values()) document.forget();
    documents.clear();
    unused.clear();
  }

  return {
    open,
    adopt: createRowAdopter(db),
    peek: (key) => documents.get(documentId(key)),
    notified(key, seq) {
      const document = documents.get(documentId(key));
      if (document) return document.notified(seq);
      const id = documentId(key);
      if (opening.has(id)) heard.set(id, Math.max(seq, heard.get(id) ?? 0));
      tell(unexplainedListeners, key);
    },
    onUnexplained(listener) {
      unexplainedListeners.add(listener);
      return () => unexplainedListeners.delete(listener);
    },
    onCommitted(listener) {
      committedListeners.add(listener);
      return () => committedListeners.delete(listener);
    },
    async refreshAll() {
      const read = [...documents.values()].filter((document) => document.figures().readers > 0);
      const results = await Promise.allSettled(read.map((document) => document.refresh()));
      const failed = results.find((result) => result.status === "rejected");
      if (failed) throw failed.reason;
    },
    redeclared(appId, tableName) {
      for (const document of documents.values()) {
        if (document.key.appId === appId && document.key.tableName === tableName) document.reload();
      }
    },
    stats: () => ({
      ...statsOf(
        [...documents.values()].map((document) => document.figures()),
        notifyLagMs,
      ),
      brokenTails,
    }),
    close() {
      closing ??= close();
      return closing;
    },
  };
}

function statsOf(all: readonly DocumentFigures[], notifyLagMs: number | undefined): Omit<LiveStats, "brokenTails"> {
  const sum = (of: (figures: DocumentFigures) => number) => all.reduce((total, figures) => total + of(figures), 0);
  const now = performance.now();
  const lags = all.flatMap(({ awaitsNotificationSince }) =>
    awaitsNotificationSince === undefined ? [] : [now - awaitsNotificationSince],
  );
  return {
    documents: all.length,
    warm: sum(({ warm }) => (warm ? 1 : 0)),
    appending: sum(({ appending }) => appending),
    readers: sum(({ readers }) => readers),
    tailUpdates: sum(({ tail }) => tail.updates),
    tailBytes: sum(({ tail }) => tail.bytes),
    longestTail: all.reduce((most, { tail }) => Math.max(most, tail.updates), 0),
    notifyLagMs: lags.length === 0 ? notifyLagMs : Math.max(notifyLagMs ?? 0, ...lags),
  };
}
