import type { Database } from "../../database/types.js";
import { createQueue } from "../../lib/queue.js";
import { createMachine } from "../../lib/state-machine.js";
import { type DocumentKey, documentId } from "../key.js";
import type { DocumentEngine } from "../loro/engine.js";
import type { ServerPeers } from "../server-peers.js";
import type { AuthorLimits } from "./author-limits.js";
import type { BrokenTail } from "./broken-tail.js";
import { type Asking, type CatchUpBatcher, createCatchUp } from "./catch-up.js";
import { createCommitQueue } from "./commit-queue.js";
import { createEngineReplica } from "./engine-replica.js";
import { createExclusiveAccess } from "./exclusive-access.js";
import type { ExportCache } from "./export-cache.js";
import type { GroupCommit } from "./group-commit.js";
import { createImports } from "./imports.js";
import { createIntake } from "./intake.js";
import { createLoader } from "./loader.js";
import { createNotificationTracker } from "./notification-tracker.js";
import { discard, ended, type OpenDocument, type Task } from "./open-document.js";
import { createOwners } from "./owners.js";
import type { Preloadable, Preloader } from "./preload.js";
import { createReading } from "./reading.js";
import { type Action, type Event, firstState, isQuiet, isReading, type State, step } from "./states.js";
import { createSubscribers } from "./subscribers.js";
import type { CommitNotice, Ending, ExclusiveDocument, LiveDocument, Look, Tail } from "./types.js";

/** Longer than any lock should last; then appends are sent again, and wait in the database if they must. */
const longestLockMs = 250;

export interface DocumentParts {
  readonly db: Database;
  readonly look: Look;
  readonly engine: DocumentEngine;
  readonly groupCommit: GroupCommit;
  readonly catchUpBatcher: CatchUpBatcher;
  readonly authorLimits: AuthorLimits;
  readonly exportCache: ExportCache;
  readonly peers: ServerPeers;
  readonly preloader: Preloader;
  warn(message: string, error: unknown, document: string): void;
  committed(document: Document, notice: CommitNotice): void;
  unexplained(key: DocumentKey): void;
  broken(tail: BrokenTail, document: string): void;
  /** The notification of an own commit came after so long. */
  arrived(lagMs: number): void;
  /** The last reference was given back. */
  released(document: Document): void;
}

/** What one document adds to `LiveStats`. */
export interface DocumentFigures {
  readonly readers: number;
  readonly warm: boolean;
  readonly appending: number;
  readonly tail: Tail;
  /** Since when the notification of an own commit has been on its way. */
  readonly awaitsNotificationSince: number | undefined;
}

export interface Document extends LiveDocument, Preloadable {
  figures(): DocumentFigures;
  /** Nothing waits and nothing is under way. */
  readonly quiet: boolean;
  /** Reads the document for the first time. Errors: PE404. */
  begin(): Promise<void>;
  notified(seq: number): void;
  /** The replica is loaded again before its next use. */
  reload(): void;
  /** Lets go of the replica; the document must be quiet. */
  forget(): void;
  /** Refuses what comes from now on. */
  close(): void;
}

export function createDocument(key: DocumentKey, parts: DocumentParts): Document {
  const id = documentId(key);
  const { db, engine } = parts;
  const warn = (message: string, error: unknown) => parts.warn(message, error, id);
  let nextOrder = 0;
  let references = 0;

  const line = createQueue<Task>();
  const waits = () => ({ next: line.first?.kind, staged: open.staged.length > 0, asked: catchUp.wanted() });
  const machine = createMachine(firstState, (state: State, event: Event) => step(state, event, waits()), perform);
  const open: OpenDocument = Object.assign(machine, {
    key,
    id,
    replica: createEngineReplica(id, engine, machine),
    subscribers: createSubscribers((error) => warn("a reader of committed updates threw", error)),
    notifications: createNotificationTracker(() => parts.unexplained(key), parts.arrived),
    line,
    staged: [],
    at: { seq: 0, revision: 0 },
    waits,
    endIncarnation,
    moved: (own: boolean) => parts.committed(document, { own, seq: open.at.seq }),
  });
  const { replica, subscribers, notifications } = open;
  const catchUp = createCatchUp(open);
  const loader = createLoader(open, { db, look: parts.look, catchUp, broken: (tail) => parts.broken(tail, id) });
  const queue = createCommitQueue(open, catchUp);
  const imports = createImports(open, { authorLimits: parts.authorLimits, stale: loader.stale, stage: queue.stage });
  const intake = createIntake(open, {
    engine,
    owners: createOwners(open, { db, engine }),
    authorLimits: parts.authorLimits,
    order: () => nextOrder++,
  });
  const access = createExclusiveAccess(open, {
    db,
    engine,
    catchUp,
    exportCache: parts.exportCache,
    loader,
    peers: parts.peers,
  });

  function perform(action: Action): Event | undefined {
    const next = line.first;
    switch (action) {
      case "commit":
        parts.groupCommit.wake(queue);
        return undefined;
      case "catch up":
        parts.catchUpBatcher.wake(catchUp);
        return undefined;
      case "import":
        return next?.kind === "append" ? imports.begin(next) : undefined;
      case "exclusive":
        line.shift();
        if (next?.kind === "exclusive") void next.run().then(endUse);
        return undefined;
      case "load":
        void loader.load().catch(failWaiting).then(endUse);
    }
    return undefined;
  }

  const endUse = () => open.tell({ is: "exclusive use ended" });

  function failWaiting(error: unknown): void {
    open.tell({ is: "load failed" });
    for (const asked of catchUp.takeAsking()) asked(error);
    refuseAppends(error);
  }

  function refuseAppends(error: unknown): void {
    const tasks = [...line];
    line.become(tasks.filter((task) => task.kind === "exclusive"));
    for (const task of tasks) if (task.kind === "append") task.reject(error);
  }

  /** What readers and writers know of the document is not what the database has: they have to begin anew. */
  function endIncarnation(why: Ending): void {
    open.tell({ is: "incarnation ended", why, now: Date.now() });
    notifications.forget();
    loader.spare();
    discard(open);
    refuseAppends(ended());
    subscribers.end(why);
  }

  function exclusive<T>(work: (held: ExclusiveDocument) => Promise<T>): Promise<T> {
    if (open.state.door === "closed") return Promise.reject(new Error("this node is closing"));
    return new Promise((resolve, reject) => {
      line.push({ kind: "exclusive", order: nextOrder++, run: () => work(access).then(resolve, reject), reject });
      open.tell({ is: "waits" });
    });
  }

  const isWarm = () => open.state.replica === "loaded";

  function refresh(): Promise<void> {
    return new Promise((resolve, reject) => {
      const asking: Asking = (error) => (error === undefined ? resolve() : reject(error));
      catchUp.ask(asking);
    });
  }

  const reading = createReading(open, { access, intake, exclusive, joinedCold: () => parts.preloader.wake(document) });

  const document: Document = {
    id,
    key,
    get position() {
      return open.at.seq;
    },
    get projectionBytes() {
      return loader.sizes.projection;
    },
    get snapshotBytes() {
      return loader.sizes.snapshot;
    },
    figures: () => ({
      readers: subscribers.size,
      warm: isWarm(),
      appending: intake.appending,
      tail: loader.sizes.tail,
      awaitsNotificationSince: notifications.awaitedSince(),
    }),
    get quiet() {
      return isQuiet(open.state, waits()) && intake.held === 0;
    },
    begin: () =>
      loader
        .read()
        .then(() => undefined)
        .finally(endUse),
    join: reading.join,
    append: intake.append,
    refresh,
    exclusive,
    notified(seq) {
      notifications.notified(seq, open.at.seq, isReading(open.state), subscribers.size > 0);
      open.tell({ is: "waits" });
    },
    reload() {
      replica.unload();
      loader.spare();
    },
    get cold() {
      return references > 0 && open.state.door === "open" && !isWarm();
    },
    preload: () => exclusive(() => (document.cold ? access.withReplica(() => Promise.resolve()) : Promise.resolve())),
    get unusedBytes() {
      return loader.unusedBytes;
    },
    spare: loader.spare,
    projected(bytes, tail) {
      loader.sizes.projection = bytes;
      loader.sizes.tail = tail;
    },
    folded() {
      loader.sizes.tail = { updates: 0, bytes: 0 };
    },
    project: (asked) => reading.ask(() => replica.call("project", []), asked),
    async snapshot() {
      const made = await reading.ask(() => replica.call("snapshot", []));
      loader.sizes.snapshot = made.snapshot.byteLength;
      return made;
    },
    locked() {
      open.tell({ is: "locked" });
      const unlock = () => {
        if (expired === undefined) return;
        clearTimeout(expired);
        expired = undefined;
        open.tell({ is: "unlocked" });
      };
      let expired: NodeJS.Timeout | undefined = setTimeout(unlock, longestLockMs);
      return unlock;
    },
    retain() {
      references++;
    },
    release() {
      references--;
      if (references === 0) parts.released(document);
    },
    forget() {
      replica.discard();
      loader.spare();
    },
    close: () => open.tell({ is: "closed" }),
  };
  return document;
}
