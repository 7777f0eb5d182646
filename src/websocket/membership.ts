import type { DocumentKey } from "../documents/key.js";
import type { TokenIdentity } from "../identity/tokens.js";
import { ownCopy } from "../lib/binary.js";
import type { Account, Reservation } from "../lib/ledger.js";
import { type Frame, roomIdOf } from "../protocol/decode.js";
import { ackFrame, joinErrorFrame, joinResponseFrame, roomErrorFrame, updateFrames } from "../protocol/encode.js";
import { createFragments, type Fragments } from "../protocol/fragments.js";
import {
  type AckStatus,
  ackStatus,
  closeCode,
  joinErrorCode,
  type Permission,
  type RoomErrorCode,
  roomErrorCode,
} from "../protocol/protocol.js";
import { type Channel, JoinRefused, joinRefusal, type OpenChannel, type RoomReader } from "../rooms/channel.js";
import { addressOf } from "../rooms/room-id.js";
import { createDelivery } from "./delivery.js";
import type { Outbox } from "./outbox.js";
import type { ConnectionServices } from "./services.js";

/** One socket, as its rooms see it. */
export interface Connection extends Pick<ConnectionServices, "settings" | "accessTo" | "inTurn" | "acked" | "joined"> {
  readonly outbox: Outbox;
  /** What it holds, in bytes, for whom it speaks. */
  readonly account: Account;
  /** See RejoinBackoff. */
  rejoinDelay(roomKey: string, passing: boolean): number | undefined;
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
  forget(member: Membership): void;
  fault(error: unknown, message: string): void;
  /** Whether any of its rooms is joined. */
  isServing(): boolean;
  close(code: number, reason: string): void;
}

/** What a member may do, for those who check it again later. */
export interface Admission {
  readonly identity: TokenIdentity;
  readonly key: DocumentKey;
  readonly access: Permission;
}

/** One room on one socket, from its JoinRequest to its end. */
export interface Membership extends RoomReader {
  isJoining(): boolean;
  /** Undefined until the join has been accepted. */
  admission(): Admission | undefined;
  /** Handles a frame of this room; `data` is what the frame was decoded from. */
  receive(frame: Frame, data: Buffer): void;
  /** Removes the client from the room and says so. */
  dismiss(code: RoomErrorCode, reason: string): void;
  /** Ends the membership without a word; batches in flight are still acknowledged. */
  close(): void;
}

/** Roughly what a room on a socket costs, besides what is counted apart. */
export const roomBytes = 32 * 1024;
/** What a backfill is taken for until it is there. */
const backfillBytes = 8 * 1024 * 1024;
/** Roughly what a batch in flight costs besides its bytes. */
const batchOverhead = 256;
const rateLimitPauseMs = 1_000;

type JoinFrame = Extract<Frame, { kind: "join" }>;

/**
 * Starts joining a room. Frames of the room that come before the answer wait for it, in their order; those of other rooms do
 * not. After the answer every batch is passed on at once, without waiting for the one before it.
 */
export function createMembership(connection: Connection, join: JoinFrame, open: OpenChannel): Membership {
  const { outbox, settings } = connection;
  const head = Buffer.from(join.head);
  const { roomKey } = join;
  let state: "joining" | "joined" | "closed" = "joining";
  let admission: Admission | undefined;
  let channel: Channel | undefined;
  /** Frames of the client that came before the answer to its join. */
  let waiting: Buffer[] = [];
  /** The client is about to be asked to join again, because of a batch that was refused with this status. */
  let rejoinBackoff: { readonly timer: NodeJS.Timeout; readonly status: AckStatus } | undefined;
  /** A dismissal that came before the answer to the join. */
  let dismissal: [RoomErrorCode, string] | undefined;
  const isClosed = () => state === "closed";
  connection.account.add(roomBytes);

  const delivery = createDelivery(outbox, settings.maxQueuedBytes, {
    overflow: () => channel?.mute(),
    // A join brings it what it missed.
    caughtUp: () => dismiss(roomErrorCode.rejoinSuggested, "you fell behind: join again"),
    hold: (bytes) => connection.account.add(bytes),
  });

  let made: Fragments | undefined;
  const fragments = (): Fragments => {
    made ??= createFragments(
      {
        maxUpdateBytes: settings.maxUpdateBytes,
        maxFragments: settings.maxFragments,
        maxBatches: settings.maxIncompleteBatches,
        timeoutMs: settings.fragmentTimeoutMs,
      },
      {
        complete: (batchId, update) => submit(batchId, [update], update.length),
        refuse: settle,
        reserve: (bytes) => connection.reserveFragments(bytes),
      },
    );
    return made;
  };

  function submit(batchId: Buffer, updates: readonly Uint8Array<ArrayBuffer>[], bytes: number): void {
    if (channel === undefined) return;
    connection.hold(bytes + batchOverhead);
    const received = performance.now();
    const answer = (status: AckStatus) => {
      connection.hold(-bytes - batchOverhead);
      settle(batchId, status, performance.now() - received);
    };
    const result = channel.submit(updates);
    if (typeof result === "number") answer(result);
    else result.then(answer).catch((error: unknown) => connection.fault(error, "a batch could not be answered"));
  }

  /** Acknowledges a batch; a refused one leaves the client with something that nobody else has, so it has to join again. */
  function settle(batchId: Uint8Array, status: AckStatus, ms = 0): void {
    connection.acked(status, ms);
    outbox.send(ackFrame(head, batchId, status));
    if (status !== ackStatus.ok && status !== ackStatus.permissionDenied) heal(status);
  }

  function heal(status: AckStatus): void {
    if (state !== "joined" || rejoinBackoff !== undefined) return;
    const passing = status !== ackStatus.invalidUpdate && status !== ackStatus.payloadTooLarge;
    const delay = connection.rejoinDelay(roomKey, passing);
    if (delay === undefined) return;
    const rejoin = () => dismiss(roomErrorCode.rejoinSuggested, "an update was not accepted: join again");
    const wait = status === ackStatus.rateLimited ? Math.max(delay, rateLimitPauseMs) : delay;
    if (wait === 0) rejoin();
    else rejoinBackoff = { timer: setTimeout(rejoin, wait), status };
  }

  function receive(frame: Frame, data: Buffer): void {
    if (state === "joining") {
      waiting.push(Buffer.from(data));
      connection.hold(data.length + batchOverhead);
      return;
    }
    switch (frame.kind) {
      case "update":
        if (mayWrite(frame.batchId)) receiveUpdate(frame.batchId, frame.updates);
        break;
      case "fragmentHeader":
        if (mayWrite(frame.batchId)) fragments().header(frame.batchId, frame.fragmentCount, frame.totalBytes);
        else fragments().ignore(frame.batchId);
        break;
      case "fragment":
        channel?.progress?.();
        fragments().fragment(frame.batchId, frame.index, frame.bytes);
        break;
      case "ack":
        // The client could not apply what it was sent, or not in time: the backfill of a new join is its second chance.
        if (frame.status !== ackStatus.ok) heal(ackStatus.invalidUpdate);
        break;
      case "leave":
        end();
    }
  }

  function mayWrite(batchId: Buffer): boolean {
    let refusal: AckStatus | undefined;
    if (channel?.permission !== "write") refusal = ackStatus.permissionDenied;
    // It builds on the batch that was refused: trying it would only cost the document's time.
    else if (rejoinBackoff !== undefined) refusal = rejoinBackoff.status;
    else if (!connection.takeBatch()) refusal = ackStatus.rateLimited;
    if (refusal === undefined) return true;
    settle(batchId, refusal);
    return false;
  }

  function receiveUpdate(batchId: Buffer, updates: readonly Buffer[]): void {
    const bytes = bytesOf(updates);
    if (bytes > settings.maxUpdateBytes) settle(batchId, ackStatus.payloadTooLarge);
    else if (updates.length === 0) settle(batchId, ackStatus.ok);
    else submit(Buffer.from(batchId), updates.map(ownCopy), bytes);
  }

  async function enter(auth: Uint8Array, version: Uint8Array): Promise<void> {
    const deadline = Date.now() + settings.joinPatienceMs;
    for (let wait = 250; ; wait = Math.min(2 * wait, 5_000)) {
      let room: Reservation | undefined;
      try {
        const identity = await connection.identify(auth);
        // What one user was sent and does not read is bounded: further joins of theirs wait for it, and nobody else's.
        room = await connection.account.reserve(backfillBytes);
        const opened = await connection.inTurn(identity.userId, () => openFor(identity, version));
        room.resize(bytesOf(opened?.backfill ?? []));
        return await answer(opened);
      } catch (error) {
        if (isClosed()) return;
        const refusal = joinRefusal(error);
        if (refusal !== undefined) return refuse(refusal);
        connection.joined("failed");
        connection.fault(error, "a join could not be answered");
        // A JoinError would end the room for good, but the fault is passing. After a while the client had better try another
        // node, unless other rooms of its socket are served here.
        if (Date.now() > deadline && !connection.isServing()) {
          return connection.close(closeCode.tryAgainLater, "try again later");
        }
        room?.release();
        await new Promise((resolve) => setTimeout(resolve, wait));
      } finally {
        room?.release();
      }
    }
  }

  async function openFor(identity: TokenIdentity, version: Uint8Array): Promise<Channel | undefined> {
    if (isClosed()) return undefined;
    const roomId = roomIdOf(head);
    const key = roomId === undefined ? undefined : addressOf(roomId, identity.userId);
    if (key === undefined) {
      throw new JoinRefused(joinErrorCode.appError, "a room id is space_id/app_id/table_name/record_id", {
        appCode: "invalid",
      });
    }
    const access = await connection.accessTo(identity, key.spaceId);
    if (access === null) throw new JoinRefused(joinErrorCode.authFailed, "forbidden: you are not in this space");
    const opened = await open({ key, identity, access, version, reader: member });
    admission = { identity, key, access };
    return opened;
  }

  async function answer(opened: Channel | undefined): Promise<void> {
    if (opened === undefined || isClosed()) return opened?.close();
    channel = opened;
    state = "joined";
    connection.joined("ok");
    outbox.send(joinResponseFrame(head, opened.permission, opened.version));
    const sent = delivery.begin(updateFrames(head, opened.backfill));
    const frames = waiting;
    waiting = [];
    if (dismissal !== undefined) dismiss(...dismissal);
    replay(frames);
    await sent;
  }

  function refuse({ code, message, extra }: JoinRefused): void {
    connection.joined("refused");
    outbox.send(joinErrorFrame(head, code, message, extra));
    const frames = waiting;
    waiting = [];
    end();
    replay(frames);
  }

  /** Handles what waited for the answer. A second join among it takes over what comes after itself. */
  function replay(frames: readonly Buffer[]): void {
    for (const data of frames) {
      connection.hold(-data.length - batchOverhead);
      connection.dispatch(data);
    }
  }

  function dismiss(code: RoomErrorCode, reason: string): void {
    if (state === "joining") dismissal = [code, reason];
    if (state !== "joined") return;
    outbox.send(roomErrorFrame(head, code, reason));
    end();
  }

  function end(): void {
    close();
    connection.forget(member);
  }

  function close(): void {
    if (state === "closed") return;
    state = "closed";
    connection.account.add(-roomBytes);
    clearTimeout(rejoinBackoff?.timer);
    made?.close();
    channel?.close();
    delivery.close();
    for (const data of waiting) connection.hold(-data.length - batchOverhead);
    waiting = [];
  }

  const member: Membership = {
    head,
    roomKey,
    isJoining: () => state === "joining",
    admission: () => (state === "joined" ? admission : undefined),
    receive,
    deliver: delivery.deliver,
    offer: delivery.offer,
    evict: (reason) => dismiss(roomErrorCode.evicted, reason),
    rejoin: (reason) => dismiss(roomErrorCode.rejoinSuggested, reason),
    hold: (bytes) => connection.account.add(bytes),
    dismiss,
    close,
  };
  enter(ownCopy(join.auth), ownCopy(join.version)).catch((error: unknown) => {
    connection.fault(error, "a join could not be finished");
  });
  return member;
}

function bytesOf(updates: readonly Uint8Array[]): number {
  return updates.reduce((sum, { byteLength }) => sum + byteLength, 0);
}
