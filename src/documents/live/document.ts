import type { Database } from "../../database/types.js";
import { type DocumentKey, documentId } from "../key.js";
import type { DocumentEngine } from "../loro/engine.js";
import type { ServerPeers } from "../server-peers.js";
import type { AuthorLimits } from "./author-limits.js";
import type { BrokenTail } from "./broken-tail.js";
import { type Asking, createCatchUp } from "./catch-up.js";
import type { CatchUpBatcher } from "./catch-up-batcher.js";
import { createCommitQueue } from "./commit-queue.js";
import { createEngineReplica, isLost } from "./engine-replica.js";
import { createExclusiveAccess } from "./exclusive-access.js";
import type { ExportCache, Exported } from "./export-cache.js";
import type { GroupCommit } from "./group-commit.js";
import { createImports } from "./imports.js";
import { createIntake } from "./intake.js";
import { createLoader } from "./loader.js";
import { createNotificationTracker } from "./notification-tracker.js";
import { createOwners } from "./owners.js";
import type { Preloadable, Preloader } from "./preload.js";
import type { Position } from "./queries.js";
import { type DocumentState, discard, ended } from "./state.js";
import { createSubscribers } from "./subscribers.js";
import type { CommitNotice, Ending, ExclusiveDocument, Joined, LiveDocument, Tail, UpdateListener } from "./types.js";

/*
 * One document held open. What makes it safe is who may touch the engine's copy, and when:
 *
 *   append    import into the copy → ready → one transaction with whatever else waits → readers told, writer acknowledged
 *   news      read what others appended → import into the copy → readers told
 *   section   projection, folding, merging of the inbox; a join that needs the copy, or the database: alone (a question to the copy:
 *             until it is asked)
 *   load      build the copy from the database: alone
 *
 * Only committed updates leave this node. The copy runs ahead of the database between an import and the end of its transaction,
 * so whatever reads the copy (export, projection, snapshot) is a section, and a section begins only when nothing is importing, ready
 * or being stored; what arrives meanwhile waits behind it. When an append fails after its import, the copy is discarded, and with it
 * everything that was imported on top of it: what was not yet sent is imported again, into a copy loaded from the database.
 * `generation` tells results that come back from a discarded copy. Readers are given the very bytes that were committed, after COMMIT.
 *
 * No update is missed. `position` is the last position p such that readers were given every update up to p, and the copy, while it
 * is loaded, contains them. Positions are given out under a lock on the document's row that is held until commit; so once an update
 * is visible, every update below it is, and none can appear there later. Position moves only by reads that are complete above it:
 * load and news read head and updates in one statement, and an append is told what lies between p and its own positions while
 * it holds that lock. One of them at a time is under way (`storing`, `busy`), so their results cannot overtake each other. A notification
 * that comes during a read is kept until its end and compared with the position reached. Where nobody reads the document, the highest notification is
 * noted, also while it is being opened: a join reads what is new first. Should a notification be lost, a poll compares positions.
 *
 * A position has a revision, since numbers alone do not identify it: see `perch.has_position`. Where the database does not lead on from the
 * position (the document was deleted; the database went back; it is so far behind that this cannot be told), the load that follows
 * ends the document for its readers and writers. They join again, and bring what the database lacks.
 *
 * None of this needs a copy. A document that was opened and read but never loaded has a position like any other: news and appends of
 * others move it and go to the readers, and only what builds on the content has the copy loaded first. What was read is kept until then,
 * as long as it ends where the position is; so a copy made of it contains what the readers were given, neither less nor more, and so does
 * the answer to a join that is made of it. Such a join, and one of what was exported at this very position before (`backfills`), needs no
 * section: it is given what is committed, and subscribes in the same turn of the event loop. A delivery and the new position are in one
 * turn as well, but for those of an append, and a join waits for the appends that came before it: its client may know of them.
 * A new incarnation, or a table declared anew, makes what was read count no more.
 */

/** What became of a promise, to be looked at later. */
function outcome<T>(promise: Promise<T>): Promise<{ value?: T; error?: unknown }> {
  return promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
}

/** How long the writers of a document that went back may hand on what others of them wrote: they all are told to rejoin at once. */
const rejoinMs = 60_000;

/** Longer than any lock should last; then appends are sent again, and wait in the database if they must. */
const longestLockMs = 250;

export interface DocumentParts {
  readonly db: Database;
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

export interface Document extends LiveDocument, Preloadable {
  readonly references: number;
  readonly readers: number;
  readonly warm: boolean;
  /** Appends that are neither committed nor refused. */
  readonly appending: number;
  readonly tail: Tail;
  /** Since when the notification of an own commit has been on its way. */
  readonly awaitsNotificationSince: number | undefined;
  /** Nothing waits and nothing is under way. */
  readonly quiet: boolean;
  /** Reads the document for the first time. Errors: PE404. */
  begin(): Promise<void>;
  notified(seq: number): void;
  /** The copy is loaded again before its next use. */
  reload(): void;
  /** Lets go of the copy; the document must be quiet. */
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
  let closed = false;

  const state: DocumentState = {
    key,
    id,
    replica: createEngineReplica(id, engine),
    subscribers: createSubscribers((error) => warn("a reader of committed updates threw", error)),
    notifications: createNotificationTracker(() => parts.unexplained(key), parts.arrived),
    waiting: [],
    at: { seq: 0, revision: 0 },
    incarnation: 0,
    ready: [],
    importing: 0,
    rejoinUntil: 0,
    storing: false,
    locked: 0,
    busy: false,
    behind: false,
    pump,
    endIncarnation,
    moved: (own) => parts.committed(document, { own, seq: state.at.seq }),
  };
  const { replica, subscribers, notifications, waiting } = state;
  const catchUp = createCatchUp(state, parts.catchUpBatcher);
  const loader = createLoader(state, { db, catchUp, broken: (tail) => parts.broken(tail, id) });
  const queue = createCommitQueue(state, {
    groupCommit: parts.groupCommit,
    takeAsking: catchUp.takeAsking,
    giveAsking: catchUp.giveAsking,
  });
  const imports = createImports(state, { authorLimits: parts.authorLimits, stale: loader.stale, stage: queue.stage });
  const intake = createIntake(state, {
    engine,
    owners: createOwners(state, { db, engine }),
    authorLimits: parts.authorLimits,
    closed: () => closed,
    order: () => nextOrder++,
  });
  const access = createExclusiveAccess(state, {
    db,
    engine,
    catchUp,
    exportCache: parts.exportCache,
    loader,
    peers: parts.peers,
  });

  const idle = () => state.importing === 0 && state.ready.length === 0 && !state.storing;

  /** Begins whatever can begin: appends one after the other without waiting, everything else alone. */
  function pump(): void {
    if (state.ready.length > 0 && !state.storing) parts.groupCommit.wake(queue);
    while (!state.busy) {
      const next = waiting[0];
      if (next?.kind === "append" && replica.loaded && !state.behind) {
        if (!imports.startNext()) return;
        continue;
      }
      if (!next && !state.behind) break;
      if (!idle()) return;
      state.busy = true;
      if (next?.kind === "exclusive") {
        waiting.shift();
        void next.run().then(pause);
      } else void loader.load().catch(failWaiting).then(pause);
      return;
    }
    if (!state.busy) catchUp.want();
  }

  function pause(): void {
    state.busy = false;
    pump();
  }

  function failWaiting(error: unknown): void {
    // Readers who lack something get it from the next load or refresh that works.
    state.behind = false;
    for (const asked of catchUp.takeAsking()) asked(error);
    refuseAppends(error);
  }

  function refuseAppends(error: unknown): void {
    for (const task of waiting) if (task.kind === "append") task.reject(error);
    waiting.splice(0, waiting.length, ...waiting.filter((task) => task.kind === "exclusive"));
  }

  /** What readers and writers know of the document is not what the database has: they have to begin anew. */
  function endIncarnation(why: Ending): void {
    state.incarnation++;
    if (why === "moved") state.rejoinUntil = Date.now() + rejoinMs;
    notifications.forget();
    loader.forgetIncarnation();
    discard(state);
    refuseAppends(ended());
    subscribers.end(why);
  }

  function exclusive<T>(work: (held: ExclusiveDocument) => Promise<T>): Promise<T> {
    if (closed) return Promise.reject(new Error("this node is closing"));
    return new Promise((resolve, reject) => {
      waiting.push({ kind: "exclusive", order: nextOrder++, run: () => work(access).then(resolve, reject), reject });
      pump();
    });
  }

  /**
   * A question to the copy, at the present position. The section ends when it is asked: calls of one document are answered in order, so
   * nothing that is imported from then on is in the answer. Where the copy turns out to be lost, the section lasts until the answer.
   */
  async function ask<T extends object>(
    call: () => Promise<T>,
    asked: () => void = () => undefined,
  ): Promise<T & Position> {
    const { at, answer } = await exclusive(async () => {
      await access.withCopy(() => Promise.resolve());
      asked();
      return { at: state.at, answer: outcome(call()) };
    });
    const { value, error } = await answer;
    if (value) return { ...value, ...at };
    if (!isLost(error)) throw error;
    return exclusive(async () => {
      asked();
      return { ...(await access.withCopy(call)), ...state.at };
    });
  }

  async function join(version: Uint8Array, listener: UpdateListener, onEnded?: (why: Ending) => void): Promise<Joined> {
    // An empty version vector is one zero byte.
    const theirs = version.byteLength === 0 ? Uint8Array.of(0) : version;
    const subscribed = (exported: Exported): Joined => {
      const leave = subscribers.add(listener, onEnded);
      if (!replica.loaded) parts.preloader.wake(document);
      return { ...exported, seq: state.at.seq, leave };
    };
    const atHand =
      closed || intake.appending > 0 || notifications.unread(state.at.seq) ? undefined : access.atHand(theirs);
    if (atHand) return subscribed(atHand);
    await intake.asked();
    return exclusive(async () => {
      if (notifications.unread(state.at.seq)) await access.bringUpToDate();
      return subscribed(await access.exportFrom(theirs));
    });
  }

  function refresh(): Promise<void> {
    return new Promise((resolve, reject) => {
      const asking: Asking = (error) => (error === undefined ? resolve() : reject(error));
      catchUp.ask(asking);
      pump();
    });
  }

  const document: Document = {
    id,
    key,
    get position() {
      return state.at.seq;
    },
    get projectionBytes() {
      return loader.sizes.projection;
    },
    get snapshotBytes() {
      return loader.sizes.snapshot;
    },
    get references() {
      return references;
    },
    get readers() {
      return subscribers.size;
    },
    get warm() {
      return replica.loaded;
    },
    get appending() {
      return intake.appending;
    },
    get tail() {
      return loader.sizes.tail;
    },
    get awaitsNotificationSince() {
      return notifications.awaitedSince();
    },
    get quiet() {
      return idle() && !state.busy && !state.behind && waiting.length === 0 && intake.held === 0;
    },
    async begin() {
      state.busy = true;
      try {
        await loader.read();
      } finally {
        pause();
      }
    },
    join,
    append: intake.append,
    refresh,
    exclusive,
    notified(seq) {
      notifications.notified(seq, state.at.seq, state.storing || state.busy, subscribers.size > 0);
      pump();
    },
    reload() {
      replica.unload();
      loader.spare();
    },
    get cold() {
      return references > 0 && !closed && !replica.loaded;
    },
    preload: () => exclusive(() => (document.cold ? access.withCopy(() => Promise.resolve()) : Promise.resolve())),
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
    project: (asked) => ask(() => replica.call("project", []), asked),
    async snapshot() {
      const made = await ask(() => replica.call("snapshot", []));
      loader.sizes.snapshot = made.snapshot.byteLength;
      return made;
    },
    locked() {
      let isLocked = true;
      state.locked++;
      const unlock = () => {
        clearTimeout(expired);
        if (!isLocked) return;
        isLocked = false;
        state.locked--;
        pump();
      };
      const expired = setTimeout(unlock, longestLockMs);
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
    close() {
      closed = true;
    },
  };
  return document;
}
