import { randomBytes } from "node:crypto";
import { uintSize, varBytesSize, writeUint, writeVarBytes } from "../lib/binary.js";
import {
  type AckStatus,
  batchIdBytes,
  type JoinErrorCode,
  joinErrorCode,
  maxFrameBytes,
  messageType,
  type Permission,
  type RoomErrorCode,
} from "./protocol.js";

const empty = Buffer.alloc(0);
const permissionText = { read: Buffer.from("read"), write: Buffer.from("write") };

/** A frame of the given size with head and type written; the payload starts at `head.length + 1`. */
function start(head: Buffer, type: number, payloadBytes: number): Buffer {
  const frame = Buffer.alloc(head.length + 1 + payloadBytes);
  head.copy(frame, 0);
  frame[head.length] = type;
  return frame;
}

export function ackFrame(head: Buffer, batchId: Uint8Array, status: AckStatus): Buffer {
  const frame = start(head, messageType.ack, batchIdBytes + 1);
  frame.set(batchId, head.length + 1);
  frame[frame.length - 1] = status;
  return frame;
}

export function joinResponseFrame(head: Buffer, permission: Permission, version: Uint8Array): Buffer {
  const text = permissionText[permission];
  const frame = start(
    head,
    messageType.joinResponseOk,
    varBytesSize(text) + varBytesSize(version) + varBytesSize(empty),
  );
  let at = writeVarBytes(frame, text, head.length + 1);
  at = writeVarBytes(frame, version, at);
  writeVarBytes(frame, empty, at);
  return frame;
}

/** What a refused join is told besides code and message. */
export interface JoinErrorExtra {
  /** With version_unknown: the version the server is at. */
  readonly receiverVersion?: Uint8Array | undefined;
  /** With app_error: a word that a program can act on. */
  readonly appCode?: string | undefined;
}

export function joinErrorFrame(
  head: Buffer,
  code: JoinErrorCode,
  message: string,
  { receiverVersion, appCode }: JoinErrorExtra = {},
): Buffer {
  const text = shortText(message);
  let extra: Uint8Array | undefined;
  if (code === joinErrorCode.versionUnknown) extra = receiverVersion;
  if (code === joinErrorCode.appError && appCode !== undefined) extra = Buffer.from(appCode);
  const size = 1 + varBytesSize(text) + (extra === undefined ? 0 : varBytesSize(extra));
  const frame = start(head, messageType.joinError, size);
  frame[head.length + 1] = code;
  const at = writeVarBytes(frame, text, head.length + 2);
  if (extra !== undefined) writeVarBytes(frame, extra, at);
  return frame;
}

export function roomErrorFrame(head: Buffer, code: RoomErrorCode, message: string): Buffer {
  const text = shortText(message);
  const frame = start(head, messageType.roomError, 1 + varBytesSize(text));
  frame[head.length + 1] = code;
  writeVarBytes(frame, text, head.length + 2);
  return frame;
}

/** Messages are for people; a long one must not push a frame over its limit. */
function shortText(message: string): Buffer {
  return Buffer.from(message.length > 500 ? `${message.slice(0, 500)}…` : message);
}

/**
 * The frames that carry `updates` to a client: as many updates a frame as fit, fragments for an update that alone does not.
 * The reader applies each batch by itself, in this order. Lazy: a large backfill is encoded piece by piece as it is sent.
 */
export function* updateFrames(head: Buffer, updates: readonly Uint8Array[]): Generator<Buffer> {
  // Room for the largest count (5 bytes), so that a batch never has to be taken apart again.
  const room = maxFrameBytes - head.length - 1 - 5 - batchIdBytes;
  let first = 0;
  let size = 0;
  for (const [index, update] of updates.entries()) {
    const wanted = varBytesSize(update);
    if (size > 0 && size + wanted > room) {
      yield updateFrame(head, updates.slice(first, index), nextBatchId());
      first = index;
      size = 0;
    }
    if (wanted > room) {
      // A copy: the generator may be resumed much later.
      yield* fragmentFrames(head, update, Buffer.from(nextBatchId()));
      first = index + 1;
    } else {
      size += wanted;
    }
  }
  if (size > 0) yield updateFrame(head, first === 0 ? updates : updates.slice(first), nextBatchId());
}

/** One DocUpdate; the caller sees to it that it fits a frame. */
export function updateFrame(head: Buffer, updates: readonly Uint8Array[], batchId: Uint8Array): Buffer {
  let size = uintSize(updates.length) + batchIdBytes;
  for (const update of updates) size += varBytesSize(update);
  const frame = start(head, messageType.docUpdate, size);
  let at = writeUint(frame, updates.length, head.length + 1);
  for (const update of updates) at = writeVarBytes(frame, update, at);
  frame.set(batchId, at);
  return frame;
}

/** What a fragment holds: a frame less its head, type, batch id, index and length, rounded down to a friendly number. */
const fragmentBytes = 240 * 1024;

function* fragmentFrames(head: Buffer, update: Uint8Array, batchId: Uint8Array): Generator<Buffer> {
  const count = Math.ceil(update.length / fragmentBytes);
  const announcement = start(
    head,
    messageType.fragmentHeader,
    batchIdBytes + uintSize(count) + uintSize(update.length),
  );
  announcement.set(batchId, head.length + 1);
  const at = writeUint(announcement, count, head.length + 1 + batchIdBytes);
  writeUint(announcement, update.length, at);
  yield announcement;
  for (let index = 0; index < count; index++) {
    const piece = update.subarray(index * fragmentBytes, (index + 1) * fragmentBytes);
    const frame = start(head, messageType.fragment, batchIdBytes + uintSize(index) + varBytesSize(piece));
    frame.set(batchId, head.length + 1);
    writeVarBytes(frame, piece, writeUint(frame, index, head.length + 1 + batchIdBytes));
    yield frame;
  }
}

// Half random, half counted: unique within the process without a call to the random source for each batch.
const batchIds = Buffer.concat([randomBytes(4), Buffer.alloc(4)]);

/** Valid until the next call. */
function nextBatchId(): Buffer {
  batchIds.writeUInt32BE((batchIds.readUInt32BE(4) + 1) >>> 0, 4);
  return batchIds;
}
