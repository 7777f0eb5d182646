import { meaningOf } from "../database/errors.js";
import type { DocumentKey } from "../documents/key.js";
import { PerchError } from "../errors.js";
import type { TokenIdentity } from "../identity/tokens.js";
import { updateFrames } from "../protocol/encode.js";
import { type AckStatus, type JoinErrorCode, joinErrorCode, type Permission } from "../protocol/protocol.js";

/*
 * What all kinds of rooms share. A kind is one function, `OpenRoom`: it lets a reader in and gives it a channel. Of the rest, each kind takes
 * what it needs:
 *
 *   membership (websocket/)   checks access, tries again while the database is away, and hands over from the backfill to what is delivered
 *                             meanwhile; so a room may deliver from the moment that it knows of a reader
 *   access.ts                 who may join, and who may stay
 *   createRegistry, framesOf  which rooms are open; frames made once for many readers
 *   broadcast.ts              telling readers together of what only the latest counts of; who is too slow gets it later
 *   log-room.ts               all of a room that is a log: batches, catching up, other nodes, deletion
 */

/** The receiving end of a room on one socket. */
export interface RoomReader {
  readonly head: Buffer;
  readonly roomKey: string;
  /**
   * Sends what must not be lost, and leads to `seq`: where the backfill turns out to lead as far, it has it. A reader too slow to take it is told to
   * join again once it has caught up.
   */
  deliver(frames: readonly Buffer[], seq: number): void;
  /** Sends what may be skipped. Out: whether it was sent. */
  offer(frames: readonly Buffer[]): boolean;
  /**
   * The room is over for this reader, who must not come back by itself: it is asked to join again, and that is refused, with the reason. The
   * official client tells an app of a join that was refused, and not of a room that has ended (RoomError 02).
   */
  end(reason: string): void;
  /** The room begins anew for this reader: it joins again by itself, with what it has. */
  rejoin(reason: string): void;
  /** What it sent last, and was told is stored, is not kept: an acknowledgement of that batch that takes the first one back. */
  refused(): void;
  /** So many bytes more (negative: fewer) are held for whoever is behind it. */
  hold(bytes: number): void;
}

/** What a join asks for, after the token was verified and access was checked. */
export interface Entry {
  readonly key: DocumentKey;
  readonly identity: TokenIdentity;
  readonly access: Permission;
  readonly version: Uint8Array;
  readonly reader: RoomReader;
}

/** What is behind a room that was joined. Closed once, and then given nothing more. */
export interface Channel {
  readonly permission: Permission;
  /** At least one byte, and what the backfill brings the reader to. */
  readonly version: Uint8Array;
  readonly backfill: readonly Uint8Array[];
  /** Where version and backfill lead, for `RoomReader.deliver`; 0 where nothing counts. */
  readonly position: number;
  /** Takes one batch, in the order of the calls. Out: what to acknowledge it with. Never rejects. */
  submit(updates: readonly Uint8Array<ArrayBuffer>[]): AckStatus | Promise<AckStatus>;
  /** A fragment of a batch arrived: more is on its way. */
  progress?(): void;
  /** Delivers nothing more, but still takes batches. What is delivered all the same is dropped. */
  mute?(): void;
  close(): void;
}

/**
 * Opens a room for a reader. Throws a JoinRefused or a PerchError when the join is refused, any other error when it cannot be
 * answered now.
 */
export type OpenRoom = (entry: Entry) => Promise<Channel>;

/** A join that is answered by a JoinError. */
export class JoinRefused extends Error {
  constructor(
    readonly code: JoinErrorCode,
    message: string,
    readonly extra: { receiverVersion?: Uint8Array; appCode?: string } = {},
  ) {
    super(message);
    this.name = "JoinRefused";
  }
}

/** Turns what a join threw into the refusal to answer; undefined when the fault is passing. */
export function joinRefusal(error: unknown): JoinRefused | undefined {
  if (error instanceof JoinRefused) return error;
  if (meaningOf(error) === "input")
    return new JoinRefused(joinErrorCode.appError, "invalid room id", { appCode: "invalid" });
  if (!(error instanceof PerchError)) return undefined;
  if (error.code === "PE401" || error.code === "PE403") return new JoinRefused(joinErrorCode.authFailed, error.message);
  return new JoinRefused(joinErrorCode.appError, error.message, { appCode: error.word });
}

/** The rooms that are open, by name. */
export interface Registry<Room> {
  readonly size: number;
  all(): Room[];
  get(name: string): Room | undefined;
  /** The room of that name; made where nobody has it open. In: `make`, which is given what takes the room out again. */
  open(name: string, make: (close: () => void) => Room): Room;
}

export function createRegistry<Room>(): Registry<Room> {
  const rooms = new Map<string, Room>();
  return {
    get size() {
      return rooms.size;
    },
    all: () => [...rooms.values()],
    get: (name) => rooms.get(name),
    open(name, make) {
      const open = rooms.get(name);
      if (open !== undefined) return open;
      const made = make(() => {
        // Another may have taken its place.
        if (rooms.get(name) === made) rooms.delete(name);
      });
      rooms.set(name, made);
      return made;
    },
  };
}

/** The frames that carry updates, made once for all readers who know the room by the same id. */
export function framesOf(updates: () => readonly Uint8Array[]): (reader: RoomReader) => readonly Buffer[] {
  let carried: readonly Uint8Array[] | undefined;
  const made = new Map<string, readonly Buffer[]>();
  return ({ head, roomKey }) => {
    let frames = made.get(roomKey);
    if (frames === undefined) {
      carried ??= updates();
      frames = [...updateFrames(head, carried)];
      made.set(roomKey, frames);
    }
    return frames;
  };
}
