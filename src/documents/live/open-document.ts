import { PerchError } from "../../errors.js";
import { writableBy } from "../../identity/identity.js";
import type { Queue } from "../../lib/queue.js";
import type { Machine } from "../../lib/state-machine.js";
import type { DocumentKey } from "../key.js";
import type { Ends } from "../loro/api.js";
import type { Owned } from "../peer-owners.js";
import type { EngineReplica } from "./engine-replica.js";
import type { NotificationTracker } from "./notification-tracker.js";
import type { Position } from "./queries.js";
import type { Event, State, Waiting } from "./states.js";
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
  /** It was refused by a replica that was older than the database, and gets a second chance. */
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

/** What the parts of one open document share. Its state is told of what happens, and has done what may begin; see states.ts. */
export interface OpenDocument extends Machine<State, Event> {
  readonly key: DocumentKey;
  readonly id: string;
  readonly replica: EngineReplica;
  readonly subscribers: Subscribers;
  readonly notifications: NotificationTracker;
  /** What has not begun, in the order of arrival. */
  readonly line: Queue<Task>;
  /** Imported, and waiting for their transaction. */
  staged: Append[];
  /** The readers were given every update up to here, and the loaded replica contains them. */
  at: Position;
  waits(): Waiting;
  /** What readers and writers have of the document is not what the database has: they have to join again. */
  endIncarnation(why: Ending): void;
  /** Tells whoever keeps projections that position has moved. */
  moved(own: boolean): void;
}

/** Puts tasks back where they came from. There may be very many: both are in order, and sorting joins them in one go. */
export function putBack({ line }: Pick<OpenDocument, "line">, tasks: readonly Task[]): void {
  if (tasks.length > 0) line.become([...tasks, ...line].sort((one, other) => one.order - other.order));
}

/** The replica holds what is not and will not be committed: everything built on it is imported again, into a fresh one. */
export function discard(open: OpenDocument): void {
  const imported = open.staged;
  open.staged = [];
  putBack(open, imported);
  open.replica.discard();
}

/** Readers lack what only a load can tell, and so does the replica. */
export function fallBehind(open: OpenDocument): void {
  open.replica.unload();
  open.tell({ is: "fell behind" });
}

/** What a writer is told whose document is not what it knows of it. */
export function ended(): PerchError {
  const why = "the document was deleted, or the database went back to an earlier state of it; join it again";
  return new PerchError("PE410", why, { reason: "ended" });
}

/** Authors with the same name may write the same, for the same reason. */
export function authorName(author: Author, spaceId: string, writable = writableBy(author, spaceId)): string {
  return `${writable} ${author.userId}`;
}
