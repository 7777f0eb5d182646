import { type ByteReader, readByte, readBytes, readerOf, readUint, readVarBytes } from "../lib/binary.js";
import { batchIdBytes, maxRoomIdBytes, maxUpdatesOfFrame, messageType } from "./protocol.js";

/** What every frame starts with. */
export interface FrameHead {
  /** Room type and room id as they stand in the frame; equal for equal rooms, and what every answer starts with. */
  readonly head: Buffer;
  /** The same as a string of bytes, for maps. */
  readonly roomKey: string;
  /** Which room is meant, equal for all spellings of its id: in a URI letters may be escaped or not. */
  readonly room: string;
}

/** A frame of a client. All byte arrays are views into the frame. */
export type Frame = FrameHead &
  (
    | { readonly kind: "join"; readonly auth: Buffer; readonly version: Buffer }
    | { readonly kind: "update"; readonly batchId: Buffer; readonly updates: Buffer[] }
    | {
        readonly kind: "fragmentHeader";
        readonly batchId: Buffer;
        readonly fragmentCount: number;
        readonly totalBytes: number;
      }
    | { readonly kind: "fragment"; readonly batchId: Buffer; readonly index: number; readonly bytes: Buffer }
    | { readonly kind: "leave" }
    | { readonly kind: "ack"; readonly batchId: Buffer; readonly status: number }
    /** A message that only servers send. */
    | { readonly kind: "other" }
  );

/**
 * Decodes one binary message of a client. Total: whatever the bytes are, it returns a frame, or undefined when they are none.
 * Every length and count is checked against the bytes that are there; nothing is allocated by a claim.
 */
export function decodeFrame(data: Buffer): Frame | undefined {
  const reader = readerOf(data);
  readBytes(reader, 4);
  const roomIdLength = readUint(reader);
  if (roomIdLength > maxRoomIdBytes) return undefined;
  const start = reader.offset;
  readBytes(reader, roomIdLength);
  const end = reader.offset;
  const type = readByte(reader);
  if (reader.bad) return undefined;
  const frame = decodePayload(reader, type, {
    head: data.subarray(0, end),
    roomKey: data.toString("latin1", 0, end),
    room: roomTypeOf(data) + unescaped(data.toString("latin1", start, end)),
  });
  return reader.bad ? undefined : frame;
}

/**
 * A personal space has two names, `~user` and none at all. In: `room` of a frame; the user it is of. Out: the room under the other name;
 * undefined when it has but one.
 */
export function otherNameOf(room: string, userId: string): string | undefined {
  const name = Buffer.from(`~${userId}`).toString("latin1").replaceAll("%", "%25").replaceAll("/", "%2f");
  const [type, id] = [room.slice(0, roomTypeBytes), room.slice(roomTypeBytes)];
  if (id.startsWith("/")) return type + name + id;
  return id.startsWith(`${name}/`) ? type + id.slice(name.length) : undefined;
}

/** In: a room id as a string of bytes. Out: the same with nothing escaped but what would be read otherwise without. */
function unescaped(roomId: string): string {
  if (!roomId.includes("%")) return roomId;
  return roomId.replaceAll(/%([0-9a-f]{2})/gi, (found, hex: string) =>
    hex === "25" || hex.toLowerCase() === "2f" ? found.toLowerCase() : String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

function decodePayload(reader: ByteReader, type: number, place: FrameHead): Frame | undefined {
  switch (type) {
    case messageType.joinRequest:
      return { kind: "join", ...place, auth: readVarBytes(reader), version: readVarBytes(reader) };
    case messageType.docUpdate: {
      const count = readUint(reader);
      if (count > maxUpdatesOfFrame) return undefined;
      const updates: Buffer[] = [];
      for (let n = 0; n < count && !reader.bad; n++) updates.push(readVarBytes(reader));
      return exact(reader, { kind: "update", ...place, updates, batchId: readBytes(reader, batchIdBytes) });
    }
    case messageType.fragmentHeader: {
      const batchId = readBytes(reader, batchIdBytes);
      const fragmentCount = readUint(reader);
      const totalBytes = readUint(reader);
      return exact(reader, { kind: "fragmentHeader", ...place, batchId, fragmentCount, totalBytes });
    }
    case messageType.fragment: {
      const batchId = readBytes(reader, batchIdBytes);
      const index = readUint(reader);
      return exact(reader, { kind: "fragment", ...place, batchId, index, bytes: readVarBytes(reader) });
    }
    case messageType.leave:
      return { kind: "leave", ...place };
    case messageType.ack: {
      const batchId = readBytes(reader, batchIdBytes);
      return exact(reader, { kind: "ack", ...place, batchId, status: readByte(reader) });
    }
    case messageType.joinResponseOk:
    case messageType.joinError:
    case messageType.roomError:
      return { kind: "other", ...place };
    default:
      return undefined;
  }
}

/** Messages that carry a batch id end exactly where they say. */
function exact<T>(reader: ByteReader, frame: T): T | undefined {
  return reader.offset === reader.data.length ? frame : undefined;
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** The room id of a frame head as text; undefined when it is not UTF-8. */
export function roomIdOf(head: Buffer): string | undefined {
  const reader = readerOf(head);
  readBytes(reader, 4);
  try {
    return utf8.decode(readVarBytes(reader));
  } catch {
    return undefined;
  }
}

/** The magic bytes of a frame head. */
const roomTypeBytes = 4;

export function roomTypeOf(head: Buffer): string {
  return head.toString("latin1", 0, roomTypeBytes);
}
