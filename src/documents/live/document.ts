import type { Database } from "../../database/types.js";
import { type DocumentKey, documentId } from "../key.js";
import type { DocumentEngine } from "../loro/engine.js";
import type { ServerPeers } from "../server-peers.js";
import type { Budgets } from "./author-limits.js";
import type { BrokenTail } from "./broken-tail.js";
import { type Asking, createNews } from "./catch-up.js";
import type { Refresher } from "./catch-up-batcher.js";
import { createAppends } from "./commit-queue.js";
import { createContent, isLost } from "./engine-replica.js";
import { createHold } from "./exclusive-access.js";
import type { Backfills, Exported } from "./export-cache.js";
import type { Appender } from "./group-commit.js";
import { createImports } from "./imports.js";
import { createIntake } from "./intake.js";
import { createLoader } from "./loader.js";
import { createRings } from "./notification-tracker.js";
import { createOwners } from "./owners.js";
import type { Warmable, Warming } from "./preload.js";
import type { Position } from "./queries.js";
import { type DocumentState, discard, ended } from "./state.js";
import { createSubscribers } from "./subscribers.js";
import type { CommitNotice, Ending, HeldDocument, Joined, LiveDocument, Tail, UpdateListener } from "./types.js";

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
 * it holds that lock. One of them at a time is under way (`storing`, `busy`), so their results cannot overtake each other. A ring
 * that comes during a read is kept until its end and compared with the position reached. Where nobody reads the document, the highest ring is
 * noted, also while it is being opened: a join reads what is new first. Should a ring be lost, a poll compares positions.
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
 * A new life, or a table declared anew, makes what was read count no more.
 */

/** What became of a promise, to be looked at later. */
function outcome<T>(promise: Promise<T>): Promise<{ value?: T; error?: unknown }> {
  return promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
}

/** How long the writers of a document that went back may hand on what others of them wrote: they all are told to rejoin at once. */
const healingMs = 60_000;

/** Longer than any lock should last; then appends are sent again, and wait in the database if they must. */
const longestLockMs = 250;

export interface DocumentParts {
  readonly db: Database;
  readonly engine: DocumentEngine;
  readonly appender: Appender;
  readonly refresher: Refresher;
  readonly budgets: Budgets;
  readonly backfills: Backfills;
  readonly peers: ServerPeers;
  readonly warming: Warming;
  warn(message: string, error: unknown, document: string): void;
  committed(document: Document, notice: CommitNotice): void;
  unexplained(key: DocumentKey): void;
  broken(tail: BrokenTail, document: string): void;
  /** The ring of an own commit came after so long. */
  rang(lagMs: number): void;
  /** The last reference was given back. */
  released(document: Document): void;
}

export interface Document extends LiveDocument, Warmable {
  readonly references: number;
  readonly readers: number;
  readonly warm: boolean;
  /** Appends that are neither committed nor refused. */
  readonly appending: number;
  readonly tail: Tail;
  /** Since when the ring of an own commit has been on its way. */
  readonly awaitsRingSince: number | undefined;
  /** Nothing waits and nothing is under way. */
  readonly quiet: boolean;
  /** Reads the document for the first time. Errors: PE404. */
  begin(): Promise<void>;
  ring(seq: number): void;
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
    content: createContent(id, engine),
    subscribers: createSubscribers((error) => warn("a reader of committed updates threw", error)),
    rings: createRings(() => parts.unexplained(key), parts.rang),
    waiting: [],
    at: { seq: 0, revision: 0 },
    life: 0,
    ready: [],
    importing: 0,
    healingUntil: 0,
    storing: false,
    locked: 0,
    busy: false,
    behind: false,
    pump,
    endLife,
    moved: (own) => parts.committed(document, { own, seq: state.at.seq }),
  };
  const { content, subscribers, rings, waiting } = state;
  const news = createNews(state, parts.refresher);
  const loader = createLoader(state, { db, news, broken: (tail) => parts.broken(tail, id) });
  const appends = createAppends(state, {
    appender: parts.appender,
    takeAsking: news.takeAsking,
    giveAsking: news.giveAsking,
  });
  const imports = createImports(state, { budgets: parts.budgets, stale: loader.stale, stage: appends.stage });
  const intake = createIntake(state, {
    engine,
    owners: createOwners(state, { db, engine }),
    budgets: parts.budgets,
    closed: () => closed,
    order: () => nextOrder++,
  });
  const hold = createHold(state, {
    db,
    engine,
    news,
    backfills: parts.backfills,
    loader,
    peers: parts.peers,
  });

  const idle = () => state.importing === 0 && state.ready.length === 0 && !state.storing;

  /** Begins whatever can begin: appends one after the other without waiting, everything else alone. */
  function pump(): void {
    if (state.ready.length > 0 && !state.storing) parts.appender.wake(appends);
    while (!state.busy) {
      const next = waiting[0];
      if (next?.kind === "append" && content.loaded && !state.behind) {
        if (!imports.startNext()) return;
        continue;
      }
      if (!next && !state.behind) break;
      if (!idle()) return;
      state.busy = true;
      if (next?.kind === "section") {
        waiting.shift();
        void next.run().then(pause);
      } else void loader.load().catch(failWaiting).then(pause);
      return;
    }
    if (!state.busy) news.want();
  }

  function pause(): void {
    state.busy = false;
    pump();
  }

  function failWaiting(error: unknown): void {
    // Readers who lack something get it from the next load or refresh that works.
    state.behind = false;
    for (const asked of news.takeAsking()) asked(error);
    refuseAppends(error);
  }

  function refuseAppends(error: unknown): void {
    for (const task of waiting) if (task.kind === "append") task.reject(error);
    waiting.splice(0, waiting.length, ...waiting.filter((task) => task.kind === "section"));
  }

  /** What readers and writers know of the document is not what the database has: they have to begin anew. */
  function endLife(why: Ending): void {
    state.life++;
    if (why === "moved") state.healingUntil = Date.now() + healingMs;
    rings.forget();
    loader.forgetLife();
    discard(state);
    refuseAppends(ended());
    subscribers.end(why);
  }

  function exclusive<T>(work: (held: HeldDocument) => Promise<T>): Promise<T> {
    if (closed) return Promise.reject(new Error("this node is closing"));
    return new Promise((resolve, reject) => {
      waiting.push({ kind: "section", order: nextOrder++, run: () => work(hold).then(resolve, reject), reject });
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
      await hold.withCopy(() => Promise.resolve());
      asked();
      return { at: state.at, answer: outcome(call()) };
    });
    const { value, error } = await answer;
    if (value) return { ...value, ...at };
    if (!isLost(error)) throw error;
    return exclusive(async () => {
      asked();
      return { ...(await hold.withCopy(call)), ...state.at };
    });
  }

  async function join(version: Uint8Array, listener: UpdateListener, onEnded?: (why: Ending) => void): Promise<Joined> {
    // An empty version vector is one zero byte.
    const theirs = version.byteLength === 0 ? Uint8Array.of(0) : version;
    const subscribed = (exported: Exported): Joined => {
      const leave = subscribers.add(listener, onEnded);
      if (!content.loaded) parts.warming.wake(document);
      return { ...exported, seq: state.at.seq, leave };
    };
    const atHand = closed || intake.appending > 0 || rings.unread(state.at.seq) ? undefined : hold.atHand(theirs);
    if (atHand) return subscribed(atHand);
    await intake.asked();
    return exclusive(async () => {
      if (rings.unread(state.at.seq)) await hold.catchUp();
      return subscribed(await hold.exportFrom(theirs));
    });
  }

  function refresh(): Promise<void> {
    return new Promise((resolve, reject) => {
      const asking: Asking = (error) => (error === undefined ? resolve() : reject(error));
      news.ask(asking);
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
      return content.loaded;
    },
    get appending() {
      return intake.appending;
    },
    get tail() {
      return loader.sizes.tail;
    },
    get awaitsRingSince() {
      return rings.awaitedSince();
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
    ring(seq) {
      rings.ring(seq, state.at.seq, state.storing || state.busy, subscribers.size > 0);
      pump();
    },
    reload() {
      content.unload();
      loader.spare();
    },
    get cold() {
      return references > 0 && !closed && !content.loaded;
    },
    warmUp: () => exclusive(() => (document.cold ? hold.withCopy(() => Promise.resolve()) : Promise.resolve())),
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
    project: (asked) => ask(() => content.call("project", []), asked),
    async snapshot() {
      const made = await ask(() => content.call("snapshot", []));
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
      content.discard();
      loader.spare();
    },
    close() {
      closed = true;
    },
  };
  return document;
}
