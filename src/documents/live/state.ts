import { PerchError } from "../../errors.js";
import type { DocumentKey } from "../key.js";
import type { Ends } from "../loro/api.js";
import type { Owned } from "../peer-owners.js";
import type { EngineReplica } from "./engine-replica.js";
import type { NotificationTracker } from "./notification-tracker.js";
import type { Position } from "./queries.js";
import type { Subscribers } from "./subscribers.js";
import type { Author, Ending } from "./types.js";

/** One batch of a client on its way. */
export interface Append {
  readonly kind: "append";
  /** Order of arrival; what has to be imported again goes back to its place. */
  readonly order: number;
  /** The incarnation of the document it was written in: an append of one that is over is refused. */
  readonly incarnation: number;
  /** What is stored and given to readers; the engine may have put trustworthy ones in the place of those that came. */
  updates: readonly Uint8Array[];
  readonly author: Author;
  readonly origin: unknown;
  /** Whose its peers are. */
  readonly owned: Owned;
  /** Others had written under the author's peer: the author's edits are stored under another. */
  forked: boolean;
  /** The engine found nothing new in it. It may still stand on what others append just now, so it is answered behind them. */
  known: boolean;
  /** What was new in it, as the engine said. */
  ends: Ends | null;
  /** Threads lost under it. */
  losses: number;
  /** It is not to be imported together with others: that was tried. */
  alone: boolean;
  /** It was refused by a copy that was older than the database, and gets a second chance. */
  rechecked: boolean;
  resolve(result: { seq: number; forked?: boolean }): void;
  reject(error: unknown): void;
}

/** Something that needs the document for itself. */
export interface ExclusiveTask {
  readonly kind: "exclusive";
  readonly order: number;
  run(): Promise<void>;
  reject(error: unknown): void;
}

export type Task = Append | ExclusiveTask;

/** What the parts of one live document share. */
export interface DocumentState {
  readonly key: DocumentKey;
  readonly id: string;
  readonly replica: EngineReplica;
  readonly subscribers: Subscribers;
  readonly notifications: NotificationTracker;
  /** What has not begun, in the order of arrival. */
  readonly waiting: Task[];
  /** The readers were given every update up to here, and the loaded copy contains them. */
  at: Position;
  /** Counts the incarnations seen here; rises with each deletion. */
  incarnation: number;
  /** Imported, and waiting for their transaction. */
  ready: Append[];
  /** Until then writers hand on what the database has lost (as of Date.now()); see peer-owners.ts. */
  rejoinUntil: number;
  /** Calls to import that are under way. */
  importing: number;
  /** An append's transaction or a refresh is under way; its outcome will move the position. */
  storing: boolean;
  /** So often its row in the database is taken to be locked by this process: an append would wait for it. */
  locked: number;
  /** A section or a load is under way. */
  busy: boolean;
  /** Readers lack something that only loading the document anew can tell. */
  behind: boolean;
  /** Looks at what can begin now. */
  pump(): void;
  /** What readers and writers have of the document is not what the database has: they have to join again. */
  endIncarnation(why: Ending): void;
  /** Tells whoever keeps projections that position has moved. */
  moved(own: boolean): void;
}

/** Puts tasks back where they came from. */
export function putBack(waiting: Task[], tasks: readonly Task[]): void {
  for (const task of tasks) {
    const later = waiting.findIndex((other) => other.order > task.order);
    waiting.splice(later < 0 ? waiting.length : later, 0, task);
  }
}

/** The copy holds what is not and will not be committed: everything built on it is imported again, into a fresh copy. */
export function discard(state: DocumentState): void {
  state.replica.discard();
  const imported = state.ready;
  state.ready = [];
  putBack(state.waiting, imported);
}

/** What a writer is told whose document is not what it knows of it. */
export function ended(): PerchError {
  const why = "the document was deleted, or the database went back to an earlier state of it; join it again";
  return new PerchError("PE410", why, { reason: "ended" });
}
