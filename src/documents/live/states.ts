import type { Step } from "../../lib/state-machine.js";
import type { Ending } from "./types.js";

/*
 * One document held open: the states it can be in, what can happen to it, and what may begin then. All of it is `step`, which is pure; the
 * document keeps the one state, and its parts perform the actions. What makes it safe is who may touch the engine's replica, and when:
 *
 *   import     takes an append into the replica; from there on it is staged: it waits for its commit
 *   commit     one transaction with whatever else is staged; then readers are told, and writers acknowledged
 *   catch up   reads what others appended, imports it, tells readers
 *   exclusive  a task that needs the document for itself: projecting, folding, merging the inbox; a join that needs the replica, or the
 *              database (a question to the replica: until it is asked)
 *   load       builds the replica from the database
 *
 * The first three share the document; the others have it to themselves. Which of them may begin is told by the rows of `rowOf`, whose names
 * are in quotes here.
 *
 * Only committed updates leave this node. The replica runs ahead of the database between an import and the end of its commit, so whatever
 * reads the replica (export, projection, snapshot) is an exclusive task, and behind 'drain' it begins only when nothing is being imported,
 * staged or committed; what arrives meanwhile stands behind it, and waits until it is over ('taken'). When an append fails after its import,
 * the replica is discarded, and with it everything that was imported on top of it: what was not yet sent is imported again, into a replica
 * loaded from the database ('load', before any 'import'). The generation tells results that come back from a discarded replica. Readers are
 * given the very bytes that were committed, after COMMIT.
 *
 * No update is missed. The position is the last p such that readers were given every update up to p, and the replica, while it is loaded,
 * contains them. Positions are given out under a lock on the document's row that is held until commit; so once an update is visible, every
 * update below it is, and none can appear there later. The position moves only by reads that are complete above it: a load and a catch-up
 * read head and updates in one statement, and a commit is told what lies between p and its own positions while it holds that lock. One of
 * them at a time is under way, so their results cannot overtake each other: `mayCommit` and `mayCatchUp` want nothing else that moves it,
 * 'drain' waits until that is over, and 'taken' keeps both away. A notification that comes during a read is kept until its end and compared
 * with the position reached. Where nobody reads the document, the highest notification is noted, also while it is being opened: a join
 * reads what is new first. Should a notification be lost, a poll compares positions.
 *
 * A position has a revision, since numbers alone do not identify it: see `perch.has_position`. Where the database does not lead on from the
 * position (the document was deleted; the database went back; it is so far behind that this cannot be told), readers are "behind", and the
 * 'load' that follows ends the document for its readers and writers. They join again, and bring what the database lacks.
 *
 * None of this needs a replica. A document that was opened and read but never loaded has a position like any other: catch-ups, and commits
 * of others, move it and go to the readers, and only what builds on the content has the replica loaded first ('load'). What was read is kept
 * until then, as long as it ends where the position is; so a replica made of it contains what the readers were given, neither less nor more,
 * and so does the answer to a join that is made of it. Such a join, and one of what was exported at this very position before, is no
 * exclusive task: it is given what is committed, and subscribes in the same turn of the event loop. A delivery and the new position are in
 * one turn as well, but for those of a commit, and a join waits for the appends that came before it: its client may know of them. A new
 * incarnation, or a table declared anew, makes what was read count no more.
 *
 * Nothing waits for ever. Whatever is under way ends by an event, and each event looks at the rows again. What holds back that which is next
 * ('full', 'drain', 'taken') does so only while something is under way, or staged; and what is staged is committed next, but for locks, which
 * end by a clock.
 */

/** Whether the engine holds the replica, as far as is known: it may have been evicted or lost since, then calls say so. */
export type Replica = "absent" | "loaded";

/**
 * What readers were given.
 * unread   nothing was read of this incarnation: the next read begins it
 * current  every update up to the position
 * behind   they lack something that only loading the document anew can tell
 */
export type Readers = "unread" | "current" | "behind";

/** What is under way that will move the position. */
export type Moving = "nothing" | "commit" | "catch-up";

/** What is under way: imports, and at most one thing that moves the position; or one exclusive task, load or first read by itself. */
export type Use =
  | { readonly is: "shared" /** Calls to import. */; readonly importing: number; readonly moving: Moving }
  | { readonly is: "exclusive" };

export interface State {
  readonly use: Use;
  readonly replica: Replica;
  /** Rises whenever what was imported and not committed is given up. */
  readonly generation: number;
  readonly readers: Readers;
  /** Counts the incarnations seen here: what was written in one that is over is refused. */
  readonly incarnation: number;
  /** Until then writers hand on what the database has lost (as of Date.now()); see peer-owners.ts. */
  readonly rejoinUntil: number;
  /** So often the document's row is taken to be locked by this process: a commit would wait for it. */
  readonly locks: number;
  /** Whether new work is taken. */
  readonly door: "open" | "closed";
}

const exclusive: Use = { is: "exclusive" };
const idle: Use = { is: "shared", importing: 0, moving: "nothing" };

/** It is being read for the first time. */
export const firstState: State = {
  use: exclusive,
  replica: "absent",
  generation: 0,
  readers: "unread",
  incarnation: 0,
  rejoinUntil: 0,
  locks: 0,
  door: "open",
};

/** What waits for its turn, as far as it matters here. */
export interface Waiting {
  /** The first that stands in line: appends and exclusive tasks wait in the order of their arrival. */
  readonly next: "append" | "exclusive" | undefined;
  /** Whether appends are in the replica, and not in a transaction. */
  readonly staged: boolean;
  /** Whether anybody wants to know what others appended. */
  readonly asked: boolean;
}

export type Event =
  /** Something came to wait. */
  | { readonly is: "waits" }
  | { readonly is: "import begun" | "import ended" }
  /** "moved": the commit or the catch-up is over, however it ended. */
  | { readonly is: "commit begun" | "catch-up begun" | "moved" }
  /** An exclusive task, a load or the first read is over, however it ended. */
  | { readonly is: "exclusive use ended" }
  | { readonly is: "load failed" }
  | { readonly is: "replica loaded" | "replica lost" | "replica discarded" }
  /** The database was read up to its head, and readers were given what they lacked. */
  | { readonly is: "read" }
  /** The database does not lead on from the position, or it is not known whether it does. */
  | { readonly is: "fell behind" }
  | { readonly is: "incarnation ended"; readonly why: Ending; readonly now: number }
  | { readonly is: "locked" | "unlocked" | "closed" };

/** "commit" and "catch up" are asked for here; they begin by an event of their own, when their common statement is sent. */
export type Action = "commit" | "import" | "exclusive" | "load" | "catch up";

/** Calls to import under way for one document: while the thread works at one, the next is with it already. */
export const maxImporting = 4;
/** How long the writers of a document that went back may hand on what others of them wrote: they all are told to rejoin at once. */
const rejoinMs = 60_000;

/** Whether a commit may begin: nothing else moves the position, and this process has not locked the document's row. */
export function mayCommit({ use, locks }: State, { staged }: Waiting): boolean {
  return staged && locks === 0 && use.is === "shared" && use.moving === "nothing";
}

/** Whether a catch-up may begin: where something is staged, its commit tells the same. */
export function mayCatchUp({ use }: State, { staged, asked }: Waiting): boolean {
  return asked && !staged && use.is === "shared" && use.moving === "nothing";
}

/** Whether something is being imported. */
export function isImporting({ use }: State): boolean {
  return use.is === "shared" && use.importing > 0;
}

/** Whether something is under way that may tell what others appended. */
export function isReading({ use }: State): boolean {
  return use.is === "exclusive" || use.moving !== "nothing";
}

/** Whether nothing waits, is under way or due. */
export function isQuiet(state: State, { next, staged }: Waiting): boolean {
  return next === undefined && !staged && state.readers !== "behind" && isIdle(state.use);
}

const isIdle = (use: Use) => use.is === "shared" && use.importing === 0 && use.moving === "nothing";

export type Row = "taken" | "import" | "full" | "catch up" | "rest" | "drain" | "exclusive" | "load";

/** What becomes of that which is next. */
export function rowOf(state: State, waiting: Waiting): Row {
  const { use, replica, readers } = state;
  const { next, staged } = waiting;
  if (use.is === "exclusive") return "taken";
  if (readers !== "behind") {
    if (next === "append" && replica === "loaded") return use.importing < maxImporting ? "import" : "full";
    if (next === undefined) return mayCatchUp(state, waiting) ? "catch up" : "rest";
  }
  if (staged || !isIdle(use)) return "drain";
  return next === "exclusive" ? "exclusive" : "load";
}

/** What an event makes of a state, and what begins then. In: what waits, as the event left it. */
export function step(before: State, event: Event, waiting: Waiting): Step<State, Action> {
  const state = after(before, event);
  const commit: Action[] = mayCommit(state, waiting) ? ["commit"] : [];
  const row = rowOf(state, waiting);
  switch (row) {
    case "exclusive":
    case "load":
      return { state: { ...state, use: exclusive }, actions: [row] };
    case "import":
    case "catch up":
      return { state, actions: [...commit, row] };
    default:
      return { state, actions: commit };
  }
}

/** What an event makes of a state. Of those that cannot come in a state, nothing. */
function after(state: State, event: Event): State {
  switch (event.is) {
    case "waits":
      return state;
    case "import begun":
      return importing(state, 1);
    case "import ended":
      return importing(state, -1);
    case "commit begun":
      return moving(state, "commit");
    case "catch-up begun":
      return moving(state, "catch-up");
    case "moved":
      return moving(state, "nothing");
    case "exclusive use ended":
      return state.use.is === "exclusive" ? { ...state, use: idle } : state;
    case "load failed":
      // Readers who lack something get it from the next load or catch-up that works.
      return state.readers === "behind" ? { ...state, readers: "current" } : state;
    case "replica loaded":
      return { ...state, replica: "loaded" };
    case "replica lost":
      return state.replica === "loaded" ? { ...state, replica: "absent" } : state;
    case "replica discarded":
      return { ...state, replica: "absent", generation: state.generation + 1 };
    case "read":
      return { ...state, readers: "current" };
    case "fell behind":
      return { ...state, readers: "behind" };
    case "incarnation ended":
      return {
        ...state,
        readers: "unread",
        incarnation: state.incarnation + 1,
        rejoinUntil: event.why === "moved" ? event.now + rejoinMs : state.rejoinUntil,
      };
    case "locked":
      return { ...state, locks: state.locks + 1 };
    case "unlocked":
      return { ...state, locks: state.locks - 1 };
    case "closed":
      return { ...state, door: "closed" };
  }
}

function importing(state: State, more: number): State {
  const { use } = state;
  return use.is === "shared" ? { ...state, use: { ...use, importing: use.importing + more } } : state;
}

function moving(state: State, what: Moving): State {
  const { use } = state;
  return use.is === "shared" ? { ...state, use: { ...use, moving: what } } : state;
}
