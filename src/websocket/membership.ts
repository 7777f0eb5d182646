import type { TokenIdentity } from "../identity/tokens.js";
import { ownCopy } from "../lib/binary.js";
import type { Reservation } from "../lib/ledger.js";
import { createMachine } from "../lib/state-machine.js";
import { type Frame, roomIdOf } from "../protocol/decode.js";
import { joinErrorFrame, joinResponseFrame, roomErrorFrame, updateFrames } from "../protocol/encode.js";
import { type AckStatus, closeCode, type RoomErrorCode, roomErrorCode } from "../protocol/protocol.js";
import { admit, type Member } from "../rooms/access.js";
import { createHandOver } from "../rooms/hand-over.js";
import { joinRefusal, type OpenRoom, type RoomReader } from "../rooms/room.js";
import { type Batches, batchOverhead, bytesOf, createBatches } from "./batches.js";
import { type Action, channelOf, type Event, firstState, type State, step } from "./membership-states.js";
import type { Connection } from "./services.js";

/** One room on one socket, from its JoinRequest to its end. */
export interface Membership extends RoomReader, Member {
  /** As `FrameHead` has it. */
  readonly room: string;
  isJoining(): boolean;
  /** Handles a frame of this room; `data` is what the frame was decoded from. */
  receive(frame: Frame, data: Buffer): void;
  /** Ends the membership, since the room was joined under another spelling of its id. */
  replace(): void;
  /** Ends the membership without a word; batches in flight are still acknowledged. */
  close(): void;
}

/** Roughly what a room on a socket costs, besides what is counted apart. */
export const roomBytes = 32 * 1024;
/** What a backfill is taken for until it is there. */
const backfillBytes = 8 * 1024 * 1024;

type JoinFrame = Extract<Frame, { kind: "join" }>;

/**
 * Starts joining a room. Frames of the room that come before the answer wait for it, in their order; those of other rooms do
 * not. After the answer every batch is passed on at once, without waiting for the one before it.
 */
export function createMembership(connection: Connection, join: JoinFrame, open: OpenRoom): Membership {
  const { outbox, settings } = connection;
  const head = Buffer.from(join.head);
  const { roomKey, room } = join;
  /** Frames of the client that came before the answer to its join. */
  let waiting: Buffer[] = [];
  let batches: Batches | undefined;
  let rejoinTimer: NodeJS.Timeout | undefined;
  let backfilled: Promise<void> | undefined;
  /** While it waits for room: to leave the line where it ends before. */
  let waitsForRoom: AbortController | undefined;
  const machine = createMachine<State, Event, Action>(firstState, step, perform);
  connection.account.add(roomBytes);

  const handOver = createHandOver(outbox, settings.maxQueuedBytes, {
    overflow: () => channelOf(machine.state)?.mute?.(),
    // A join brings it what it missed.
    caughtUp: () => dismiss(roomErrorCode.rejoinSuggested, "you fell behind: join again"),
    hold: (bytes) => connection.account.add(bytes),
  });

  function perform(action: Action): undefined {
    switch (action.do) {
      case "answer": {
        const { permission, version, backfill, position } = action.channel;
        connection.joined("ok");
        outbox.send(joinResponseFrame(head, permission, version));
        backfilled = handOver.begin(updateFrames(head, backfill), position);
        break;
      }
      case "refuse": {
        const { code, message, extra } = action.refusal;
        connection.joined("refused");
        outbox.send(joinErrorFrame(head, code, message, extra));
        break;
      }
      case "dismiss":
        outbox.send(roomErrorFrame(head, action.dismissal.code, action.dismissal.reason));
        break;
      case "dismiss later":
        rejoinTimer = setTimeout(() => machine.tell({ is: "dismissed", dismissal: action.dismissal }), action.waitMs);
        break;
      case "let go":
        connection.account.add(-roomBytes);
        waitsForRoom?.abort();
        clearTimeout(rejoinTimer);
        batches?.close();
        action.channel?.close();
        handOver.close();
        break;
      case "close":
        action.channel.close();
        break;
      case "forget":
        connection.forget(member);
        break;
      case "drop frames":
        for (const data of takeWaiting()) connection.hold(-data.length - batchOverhead);
        break;
      case "replay":
        // A second join among them takes over what comes after itself.
        for (const data of takeWaiting()) {
          connection.hold(-data.length - batchOverhead);
          connection.dispatch(data);
        }
    }
  }

  function takeWaiting(): Buffer[] {
    const frames = waiting;
    waiting = [];
    return frames;
  }

  function receive(frame: Frame, data: Buffer): void {
    if (machine.state.is === "joining") {
      waiting.push(Buffer.from(data));
      connection.hold(data.length + batchOverhead);
    } else if (frame.kind === "leave") machine.tell({ is: "left" });
    else {
      // Most members only read.
      batches ??= createBatches(connection, { head, room }, { state: () => machine.state, unaccepted });
      batches.receive(frame);
    }
  }

  async function enter(auth: Uint8Array, version: Uint8Array): Promise<void> {
    const deadline = Date.now() + settings.joinPatienceMs;
    for (let wait = 250; ; wait = Math.min(2 * wait, 5_000)) {
      let reserved: Reservation | undefined;
      try {
        const identity = await connection.identify(auth);
        // What one user was sent and does not read is bounded: further joins of theirs wait for it, and nobody else's.
        if (isClosed()) return;
        waitsForRoom = new AbortController();
        reserved = await connection.account.reserve(backfillBytes, waitsForRoom.signal);
        waitsForRoom = undefined;
        if (reserved === undefined) return;
        const opened = await connection.inTurn(identity.userId, () => openFor(identity, version));
        if (opened === undefined) return;
        reserved.resize(bytesOf(opened.channel.backfill));
        machine.tell({ is: "opened", ...opened });
        return await backfilled;
      } catch (error) {
        if (isClosed()) return;
        const refusal = joinRefusal(error);
        if (refusal !== undefined) return machine.tell({ is: "refused", refusal });
        connection.joined("failed");
        connection.fault(error, "a join could not be answered");
        // A JoinError would end the room for good, but the fault is passing. After a while the client had better try another
        // node, unless other rooms of its socket are served here.
        if (Date.now() > deadline && !connection.isServing()) {
          return connection.close(closeCode.tryAgainLater, "try again later");
        }
        reserved?.release();
        await new Promise((resolve) => setTimeout(resolve, wait));
      } finally {
        reserved?.release();
      }
    }
  }

  async function openFor(identity: TokenIdentity, version: Uint8Array) {
    if (isClosed()) return undefined;
    const admission = await admit(roomIdOf(head), identity, connection.accessTo);
    connection.letIn(member, identity.userId);
    return { admission, channel: await open({ ...admission, version, reader: member }) };
  }

  const unaccepted = (status: AckStatus, waitMs: number) => machine.tell({ is: "unaccepted", status, waitMs });
  const isClosed = () => machine.state.is === "closed";
  const dismiss = (code: RoomErrorCode, reason: string) =>
    machine.tell({ is: "dismissed", dismissal: { code, reason } });

  const member: Membership = {
    head,
    roomKey,
    room,
    isJoining: () => machine.state.is === "joining",
    admission: () => ("admission" in machine.state ? machine.state.admission : undefined),
    receive,
    deliver: handOver.deliver,
    offer: handOver.offer,
    end(reason) {
      if (!isClosed()) connection.refuseOnce(room, reason);
      dismiss(roomErrorCode.rejoinSuggested, reason);
    },
    replace: () => dismiss(roomErrorCode.evicted, "joined under another spelling of its id"),
    rejoin: (reason) => dismiss(roomErrorCode.rejoinSuggested, reason),
    refused: () => batches?.refuseLast(),
    hold: (bytes) => connection.account.add(bytes),
    close: () => machine.tell({ is: "closed" }),
  };
  enter(ownCopy(join.auth), ownCopy(join.version)).catch((error: unknown) => {
    connection.fault(error, "a join could not be finished");
  });
  return member;
}
