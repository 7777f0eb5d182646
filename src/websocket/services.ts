import type { Logger } from "pino";
import type { DocumentKey } from "../documents/key.js";
import type { TokenIdentity, VerifyToken } from "../identity/tokens.js";
import type { Account, Ledger } from "../lib/ledger.js";
import type { Warn } from "../lib/log.js";
import type { AckStatus, Permission } from "../protocol/protocol.js";
import type { OpenRoom, RoomReader } from "../rooms/room.js";
import type { Outbox } from "./outbox.js";
import type { WebsocketSettings } from "./settings.js";

/** What all sockets of a gateway share. */
export interface ConnectionServices {
  readonly settings: WebsocketSettings;
  readonly log: Logger;
  readonly warn: Warn;
  readonly verifyToken: VerifyToken;
  readonly ledger: Ledger;
  accessTo(identity: TokenIdentity, key: DocumentKey): Promise<Permission | null>;
  /** Runs the costly part of a user's join, when it is its turn. */
  inTurn<T>(userId: string, work: () => Promise<T>): Promise<T>;
  /** How a room of this type is opened; undefined for types that are not served. */
  channelOf(roomType: string): OpenRoom | undefined;
  /** A socket speaks for this user now. Out: whether the user may have one more. */
  admitUser(userId: string): boolean;
  dismissUser(userId: string): void;
  /** A socket has shown a valid token for the first time, or closed without one. */
  noStranger(): void;
  /** A batch was answered, so many milliseconds after it was received. */
  acked(status: AckStatus, ms: number): void;
  joined(result: "ok" | "refused" | "failed"): void;
}

/** One socket, as its rooms see it. */
export interface Connection extends Pick<ConnectionServices, "settings" | "accessTo" | "inTurn" | "acked" | "joined"> {
  readonly outbox: Outbox;
  /** What it holds, in bytes, for whom it speaks. */
  readonly account: Account;
  /** See RejoinBackoff. */
  rejoinDelay(room: string, passing: boolean): number | undefined;
  /** Whose the auth bytes of a join are; without any, the token the socket came with counts. Throws like VerifyToken. */
  identify(auth: Uint8Array): Promise<TokenIdentity>;
  /** So many bytes of the client wait for an answer (negative: have been answered). Too many, and it is not read from. */
  hold(bytes: number): void;
  /** So many bytes of incomplete batches are to be kept (negative: are freed). Out: whether there is room. */
  reserveFragments(bytes: number): boolean;
  /** Whether the client may send another batch now. */
  takeBatch(): boolean;
  /** Handles a message of the client. Never throws. */
  dispatch(data: Buffer): void;
  /** The member is let in as this user: whoever joined the same room before, by its other name, is out. */
  letIn(member: RoomReader & { readonly room: string }, userId: string): void;
  /** The next join of this room is refused, for this reason. */
  refuseOnce(room: string, reason: string): void;
  forget(member: RoomReader & { readonly room: string }): void;
  fault(error: unknown, message: string): void;
  /** Whether any of its rooms is joined. */
  isServing(): boolean;
  close(code: number, reason: string): void;
}
