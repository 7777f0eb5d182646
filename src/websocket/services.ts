import type { Logger } from "pino";
import type { TokenIdentity, VerifyToken } from "../identity/tokens.js";
import type { Ledger } from "../lib/ledger.js";
import type { Warn } from "../lib/log.js";
import type { AckStatus, Permission } from "../protocol/protocol.js";
import type { OpenChannel } from "../rooms/channel.js";
import type { WebsocketSettings } from "./settings.js";

/** What all sockets of a gateway share. */
export interface ConnectionServices {
  readonly settings: WebsocketSettings;
  readonly log: Logger;
  readonly warn: Warn;
  readonly verifyToken: VerifyToken;
  readonly ledger: Ledger;
  accessTo(identity: TokenIdentity, spaceId: string): Promise<Permission | null>;
  /** Runs the costly part of a user's join, when it is its turn. */
  inTurn<T>(userId: string, work: () => Promise<T>): Promise<T>;
  /** How a room of this type is opened; undefined for types that are not served. */
  channelOf(roomType: string): OpenChannel | undefined;
  /** A socket speaks for this user now. Out: whether the user may have one more. */
  admitUser(userId: string): boolean;
  dismissUser(userId: string): void;
  /** A socket has shown a valid token for the first time, or closed without one. */
  noStranger(): void;
  /** A batch was answered, so many milliseconds after it was received. */
  acked(status: AckStatus, ms: number): void;
  joined(result: "ok" | "refused" | "failed"): void;
}
