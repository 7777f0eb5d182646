import { meaningOf } from "../database/errors.js";
import type { DocumentKey } from "../documents/key.js";
import { PerchError } from "../errors.js";
import type { TokenIdentity } from "../identity/tokens.js";
import { type AckStatus, type JoinErrorCode, joinErrorCode, type Permission } from "../protocol/protocol.js";

/** The receiving end of a room on one socket. */
export interface RoomReader {
  readonly head: Buffer;
  readonly roomKey: string;
  /** Sends what must not be lost; a reader too slow to take it is told to join again once it has caught up. */
  deliver(frames: readonly Buffer[]): void;
  /** Sends what may be skipped. Out: whether it was sent. */
  offer(frames: readonly Buffer[]): boolean;
  /** The room is over for this reader; it must not come back by itself. */
  evict(reason: string): void;
  /** The room begins anew for this reader: it joins again by itself, with what it has. */
  rejoin(reason: string): void;
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

/** What is behind a room that was joined. */
export interface Channel {
  readonly permission: Permission;
  /** At least one byte, and what the backfill brings the reader to. */
  readonly version: Uint8Array;
  readonly backfill: readonly Uint8Array[];
  /** Takes one batch, in the order of the calls. Out: what to acknowledge it with. Never rejects. */
  submit(updates: readonly Uint8Array<ArrayBuffer>[]): AckStatus | Promise<AckStatus>;
  /** A fragment of a batch arrived: more is on its way. */
  progress?(): void;
  /** Delivers nothing more, but still takes batches. */
  mute(): void;
  close(): void;
}

/**
 * Opens a room for a reader. Throws a JoinRefused or a PerchError when the join is refused, any other error when it cannot be
 * answered now.
 */
export type OpenChannel = (entry: Entry) => Promise<Channel>;

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
