import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";
import type { TokenIdentity } from "../identity/tokens.js";
import { type Account, openAccount } from "../lib/ledger.js";
import { createMachine } from "../lib/state-machine.js";
import { createTokenBucket } from "../lib/token-bucket.js";
import { decodeFrame, type Frame, otherNameOf, roomTypeOf } from "../protocol/decode.js";
import { ackStatus, closeCode, joinErrorCode, maxFrameBytes } from "../protocol/protocol.js";
import { JoinRefused } from "../rooms/room.js";
import { type Action, type Event, firstState, isPaused, type State, step } from "./connection-states.js";
import { createMembership, type Membership, roomBytes } from "./membership.js";
import { createOutbox } from "./outbox.js";
import { createRefusals, type Refusals } from "./refusals.js";
import { createRejoinBackoff, type RejoinBackoff } from "./rejoin-backoff.js";
import type { Connection, ConnectionServices } from "./services.js";

/** One socket, as the gateway sees it. */
export interface OpenConnection {
  readonly members: ReadonlyMap<string, Membership>;
  readonly account: Account;
  /** To be called often: closes what has been silent, unauthenticated or slow for too long, and acts on expired tokens. */
  tick(now: number): void;
  /** Takes nothing more; resolves when everything that was taken is answered. */
  drain(): Promise<void>;
  close(code: number, reason: string): void;
  terminate(): void;
}

export interface NewSocket {
  readonly socket: WebSocket;
  /** The stream beneath it. */
  readonly stream: Duplex;
  /** The token it came with; empty when none. */
  readonly token: string;
  /** For the logs. */
  readonly id: string;
}

type JoinFrame = Extract<Frame, { kind: "join" }>;

/** Roughly what a socket costs, besides what is counted apart. */
const socketBytes = 16 * 1024;

/** Serves one socket until it closes. `onClosed` is called once. */
export function createConnection(
  { socket, stream, token, id }: NewSocket,
  services: ConnectionServices,
  onClosed: () => void,
): OpenConnection {
  // Ten thousand of these wait for the next message of their client. So what few of them need is made when it is needed, and none
  // of the objects that belong to a socket has a getter: each would get a hidden class of its own, and half a kilobyte with it.
  const { settings, log } = services;
  const outbox = createOutbox(socket, stream, settings.maxQueuedBytes);
  const account = openAccount(services.ledger);
  account.add(socketBytes);
  /** What was counted of the outbox's queue when it was last looked at. */
  let queuedBytes = 0;
  const members = new Map<string, Membership>();
  /** Rooms that have ended, and why: their next join is refused. */
  const ended = new Map<string, string>();
  let madeRefusals: Refusals | undefined;
  let users: Set<string> | undefined;
  let rejoinBackoff: RejoinBackoff | undefined;
  let takeBatch: (() => boolean) | undefined;
  let verified: { readonly token: string; readonly identity: TokenIdentity } | undefined;
  let pendingBytes = 0;
  let fragmentBytes = 0;
  /** Whoever waits until everything that was taken is answered. */
  let drained: (() => void) | undefined;
  let heardAt = Date.now();
  const machine = createMachine<State, Event, Action>(firstState, step, perform);
  /** Until when the socket has spoken for somebody. */
  let authenticatedUntil = Date.now();

  async function identify(auth: Uint8Array): Promise<TokenIdentity> {
    const presented = auth.length > 0 ? Buffer.from(auth).toString("utf8") : token;
    if (verified?.token === presented && verified.identity.expiresAt > Date.now()) return verified.identity;
    const identity = await services.verifyToken(presented);
    users ??= new Set();
    if (!users.has(identity.userId) && socket.readyState === socket.OPEN) {
      if (!services.admitUser(identity.userId)) {
        throw new JoinRefused(joinErrorCode.appError, "you have too many connections open", {
          appCode: "too_many_sockets",
        });
      }
      users.add(identity.userId);
    }
    verified = { token: presented, identity };
    account.become(identity.userId);
    machine.tell({ is: "identified" });
    authenticatedUntil = Math.max(authenticatedUntil, identity.expiresAt);
    return identity;
  }

  function hold(bytes: number): void {
    pendingBytes += bytes;
    account.add(bytes);
    if (pendingBytes > settings.maxPendingBytes || bytes < 0) regulate();
    if (pendingBytes === 0) drained?.();
  }

  /** Reads from the client only as fast as it is answered, and as it reads the answers. */
  function regulate(): void {
    const paused = isPaused(machine.state);
    const limit = paused ? settings.maxPendingBytes / 2 : settings.maxPendingBytes;
    const full = pendingBytes > limit || (pendingBytes > 0 && !account.fits(0)) || outbox.isFull();
    if (full && !paused && outbox.isFull()) outbox.onDrained(regulate);
    if (full !== paused) machine.tell({ is: "loaded", full });
  }

  function perform(action: Action): undefined {
    switch (action.do) {
      case "close":
        outbox.close();
        socket.close(action.code, action.reason);
        break;
      case "no stranger":
        services.noStranger();
        break;
      case "pause":
        socket.pause();
        break;
      case "resume":
        socket.resume();
        break;
      case "ping":
        if (socket.readyState === socket.OPEN) socket.ping();
        break;
      case "terminate":
        socket.terminate();
        break;
      case "leave rooms":
        for (const member of [...members.values()]) member.close();
        members.clear();
        break;
      case "let go":
        outbox.close();
        countQueued(0);
        account.add(-socketBytes);
        for (const user of users ?? []) services.dismissUser(user);
        users?.clear();
    }
  }

  function dispatch(data: Buffer): void {
    if (machine.state.is !== "open") return;
    const frame = decodeFrame(data);
    if (frame === undefined) {
      log.warn(
        { socket: id, bytes: data.length },
        "a client sent a frame that is none of the Loro protocol; its socket was closed",
      );
      close(closeCode.protocolError, "malformed frame");
      return;
    }
    const member = members.get(frame.room);
    if (data.length > maxFrameBytes) refusals().frame(frame, ackStatus.payloadTooLarge);
    // A second join before the first was answered waits for that, like everything else.
    else if (frame.kind === "join" && member?.isJoining() !== true) join(frame, member);
    else if (member !== undefined) member.receive(frame, data);
    else refusals().frame(frame, ackStatus.permissionDenied);
  }

  function refusals(): Refusals {
    madeRefusals ??= createRefusals(outbox, services);
    return madeRefusals;
  }

  function join(frame: JoinFrame, earlier: Membership | undefined): void {
    const open = services.channelOf(roomTypeOf(frame.head));
    const over = ended.get(frame.room);
    ended.delete(frame.room);
    if (over !== undefined && earlier === undefined) refusals().over(frame, over);
    else if (open === undefined) {
      refusals().join(frame, "unsupported", "rooms of this type are not served");
    } else if (earlier === undefined && members.size >= settings.maxRoomsPerSocket) {
      refusals().join(frame, "too_many_rooms", "too many rooms on one socket");
    } else if (earlier === undefined && !account.fits(roomBytes)) {
      refusals().join(frame, "too_much_held", "too much is held for you: leave rooms, or read what you were sent");
    } else {
      // Under another spelling of the room's id: who knows it by that is told.
      if (earlier !== undefined && earlier.roomKey !== frame.roomKey) earlier.replace();
      else earlier?.close();
      // Those who joined later stand behind.
      members.delete(frame.room);
      members.set(frame.room, createMembership(connection, frame, open));
    }
  }

  const close = (code: number, reason: string) => machine.tell({ is: "told to go", code, reason });

  function countQueued(bytes: number): void {
    account.add(bytes - queuedBytes);
    queuedBytes = bytes;
  }

  function heard(): void {
    heardAt = Date.now();
    machine.tell({ is: "heard" });
  }

  socket.on("message", (data: Buffer, isBinary: boolean) => {
    heard();
    try {
      if (isBinary) dispatch(data);
      else if (data.length === 4 && data.toString("latin1") === "ping") outbox.send("pong");
      if (outbox.isFull()) regulate();
    } catch (error) {
      log.error(
        { socket: id, err: error },
        "a frame could not be handled; its socket was closed, and the client connects anew",
      );
      close(closeCode.tryAgainLater, "try again later");
    }
  });
  socket.on("pong", heard);
  // What ws reports here (a frame over the limit, bad UTF-8, a reset) it also closes the socket for.
  socket.on("error", (error) => log.info({ socket: id, err: error }, "socket error"));
  socket.on("close", (code) => {
    machine.tell({ is: "gone" });
    log.debug({ socket: id, code }, "socket closed");
    onClosed();
  });

  const connection: Connection = {
    settings,
    outbox,
    account,
    rejoinDelay(room, passing) {
      rejoinBackoff ??= createRejoinBackoff();
      return rejoinBackoff.delay(room, passing);
    },
    accessTo: services.accessTo,
    inTurn: services.inTurn,
    acked: services.acked,
    joined: services.joined,
    identify,
    hold,
    reserveFragments(bytes) {
      if (bytes > 0 && (fragmentBytes + bytes > settings.maxPendingBytes || !account.fits(bytes))) return false;
      fragmentBytes += bytes;
      account.add(bytes);
      return true;
    },
    takeBatch() {
      takeBatch ??= createTokenBucket(settings.maxBatchesPerSecond);
      return takeBatch();
    },
    dispatch,
    letIn(member, userId) {
      const other = members.get(otherNameOf(member.room, userId) ?? "");
      if (other === undefined) return;
      for (const first of members.values()) {
        if (first === other) other.replace();
        if (first === other || first === member) return;
      }
    },
    refuseOnce(room, reason) {
      ended.set(room, reason);
      const [oldest] = ended.keys();
      if (ended.size > settings.maxRoomsPerSocket && oldest !== undefined) ended.delete(oldest);
    },
    forget(member) {
      if (members.get(member.room) === member) members.delete(member.room);
    },
    isServing: () => [...members.values()].some((member) => !member.isJoining()),
    fault: (error, message) => services.warn(error, message, { socket: id }),
    close,
  };

  // Whoever came with a token is known before the first join, or never: a join says why.
  if (token !== "") {
    identify(new Uint8Array()).catch((error: unknown) => log.debug({ socket: id, err: error }, "no valid token"));
  }

  return {
    members,
    account,
    tick(now) {
      countQueued(outbox.queued());
      if (isPaused(machine.state)) regulate();
      for (const member of [...members.values()]) {
        if ((member.admission()?.identity.expiresAt ?? Number.POSITIVE_INFINITY) > now) continue;
        member.rejoin("the token has expired: join again with a new one");
      }
      const late = members.size === 0 && now > authenticatedUntil + settings.unauthenticatedMs;
      const stuck = now - (outbox.stuckSince() ?? now) > settings.slowReaderMs;
      const silent = now - heardAt > settings.pingMs;
      if (silent) heardAt = now;
      if (late || stuck || silent) machine.tell({ is: "tick", late, stuck, silent });
    },
    drain() {
      const done = new Promise<void>((resolve) => {
        drained = resolve;
      });
      machine.tell({ is: "drain" });
      if (pendingBytes === 0) drained?.();
      return done;
    },
    close,
    terminate: () => socket.terminate(),
  };
}
