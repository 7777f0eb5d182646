import { ownCopy } from "../lib/binary.js";
import type { Frame } from "../protocol/decode.js";
import { ackFrame } from "../protocol/encode.js";
import { createFragments, type Fragments } from "../protocol/fragments.js";
import { type AckStatus, ackStatus } from "../protocol/protocol.js";
import { channelOf, type State } from "./membership-states.js";
import type { Connection } from "./services.js";

/** What a client sends to a room that it has joined: batches, whole or in fragments, each of which is acknowledged. */
export interface Batches {
  receive(frame: Frame): void;
  /**
   * Acknowledges the batch that was accepted last once more, as an invalid update: the official client calls `onUpdateError` of its adaptor. It
   * keeps its copy, and is given what takes the edit back as an update.
   */
  refuseLast(): void;
  /** Forgets the batches whose fragments have not all come; those in flight are still acknowledged. */
  close(): void;
}

interface Room {
  readonly head: Buffer;
  /** As `FrameHead` has it. */
  readonly room: string;
}

export interface Member {
  state(): State;
  /** A batch was not accepted: the client has to join again, after so long. */
  unaccepted(status: AckStatus, waitMs: number): void;
}

/** Roughly what each update of a batch in flight costs besides its bytes. */
export const batchOverhead = 256;
const rateLimitPauseMs = 1_000;

export function createBatches(connection: Connection, { head, room }: Room, member: Member): Batches {
  const { outbox, settings } = connection;
  let made: Fragments | undefined;
  let accepted: Uint8Array | undefined;
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
    const channel = channelOf(member.state());
    if (channel === undefined) return;
    const held = bytes + batchOverhead * updates.length;
    connection.hold(held);
    const received = performance.now();
    const answer = (status: AckStatus) => {
      connection.hold(-held);
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
    if (status === ackStatus.ok) accepted = batchId;
    if (status !== ackStatus.ok && status !== ackStatus.permissionDenied) askToRejoin(status);
  }

  function askToRejoin(status: AckStatus): void {
    if (member.state().is !== "joined") return;
    const passing = status !== ackStatus.invalidUpdate && status !== ackStatus.payloadTooLarge;
    const delay = connection.rejoinDelay(room, passing);
    if (delay === undefined) return;
    const waitMs = status === ackStatus.rateLimited ? Math.max(delay, rateLimitPauseMs) : delay;
    member.unaccepted(status, waitMs);
  }

  function receive(frame: Frame): void {
    switch (frame.kind) {
      case "update":
        if (mayWrite(frame.batchId)) receiveUpdate(frame.batchId, frame.updates);
        break;
      case "fragmentHeader":
        if (mayWrite(frame.batchId)) fragments().header(frame.batchId, frame.fragmentCount, frame.totalBytes);
        else fragments().ignore(frame.batchId);
        break;
      case "fragment":
        channelOf(member.state())?.progress?.();
        fragments().fragment(frame.batchId, frame.index, frame.bytes);
        break;
      case "ack":
        // The client could not apply what it was sent, or not in time: the backfill of a new join is its second chance.
        if (frame.status !== ackStatus.ok) askToRejoin(ackStatus.invalidUpdate);
    }
  }

  function mayWrite(batchId: Buffer): boolean {
    const state = member.state();
    let refusal: AckStatus | undefined;
    if (channelOf(state)?.permission !== "write") refusal = ackStatus.permissionDenied;
    // It builds on the batch that was refused: trying it would only cost the document's time.
    else if (state.is === "rejoining") refusal = state.status;
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

  function refuseLast(): void {
    if (accepted === undefined || member.state().is !== "joined") return;
    connection.acked(ackStatus.invalidUpdate, 0);
    outbox.send(ackFrame(head, accepted, ackStatus.invalidUpdate));
    accepted = undefined;
  }

  return { receive, refuseLast, close: () => made?.close() };
}

export function bytesOf(updates: readonly Uint8Array[]): number {
  return updates.reduce((sum, { byteLength }) => sum + byteLength, 0);
}
