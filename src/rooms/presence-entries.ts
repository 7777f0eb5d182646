import { isUtf8 } from "node:buffer";
import {
  type ByteReader,
  readByte,
  readBytes,
  readerOf,
  readUint,
  readVarBytes,
  readVarint,
  uintSize,
  varint,
  writeUint,
} from "../lib/binary.js";
import { type AckStatus, ackStatus } from "../protocol/protocol.js";
import type { RoomSettings } from "./settings.js";

/** One key of an ephemeral store. */
export interface PresenceEntry {
  /** The key's bytes, as a string of bytes. */
  readonly key: string;
  /** The entry as it stands in an update: key, value and time. */
  readonly bytes: Uint8Array;
  /** When the client set it, by its own clock, in milliseconds, within the bounds told. The newer entry of a key wins. */
  readonly setAt: number;
}

/** What an entry takes in memory besides its bytes: the key, the object, its places in maps. */
const entryOverhead = 300;

/** What keeping an entry takes. */
export const costOf = ({ bytes }: Pick<PresenceEntry, "bytes">) => bytes.length + entryOverhead;

/** How many entries an update says it has; 0 when it is none. */
const presenceCount = (update: Buffer): number => readUint(readerOf(update));

/**
 * Takes an update of Loro's EphemeralStore apart, without decoding its values: a count, then for each entry the key, an optional
 * value (none: deleted) and the time it was set. Reading it here, rather than with the store, keeps strangers' bytes out of
 * WASM and leaves no timers behind.
 * An entry from later than `latest` is made one of then: by the rule of its stores it would hold its key until that time comes. One from
 * before `earliest` is made one of then, too: stores that come to know of it would take it for expired.
 * Out: the entries, copied; undefined when the bytes are no such update.
 */
export function presenceEntries(
  update: Buffer,
  latest = Number.POSITIVE_INFINITY,
  earliest = Number.NEGATIVE_INFINITY,
): PresenceEntry[] | undefined {
  const reader = readerOf(update);
  const count = readUint(reader);
  const entries: PresenceEntry[] = [];
  for (let n = 0; n < count; n++) {
    const start = reader.offset;
    const key = readText(reader).toString("latin1");
    const hasValue = readByte(reader);
    if (hasValue > 1) return undefined;
    if (hasValue === 1) skipValue(reader, 0);
    const untilTime = reader.offset;
    const told = readSigned(reader);
    if (reader.bad) return undefined;
    const setAt = Math.max(earliest, Math.min(latest, told));
    const bytes =
      setAt === told
        ? new Uint8Array(update.subarray(start, reader.offset))
        : concat(update.subarray(start, untilTime), signed(setAt));
    entries.push({ key, setAt, bytes });
  }
  return reader.bad || reader.offset !== update.length ? undefined : entries;
}

/** A key has to fit an index of the database. */
const maxKeyBytes = 1_024;
/** How far a client's clock may be ahead of this one, or behind it. */
const clockToleranceMs = 5_000;

/**
 * The entries of a client's batch, or what refuses it. What no room has place for is not taken apart. What is handed on may be as old as
 * it likes; the rest is set now, whatever the client's clock says.
 */
export function entriesIn(
  updates: readonly Uint8Array[],
  { maxPresenceKeys, maxPresenceBytes }: Pick<RoomSettings, "maxPresenceBytes" | "maxPresenceKeys">,
  handedOn: boolean,
): PresenceEntry[] | AckStatus {
  const entries: PresenceEntry[] = [];
  const now = Date.now();
  const earliest = handedOn ? Number.NEGATIVE_INFINITY : now - clockToleranceMs;
  let places = maxPresenceKeys;
  let bytesLeft = maxPresenceBytes;
  for (const update of updates) {
    const bytes = Buffer.from(update.buffer, update.byteOffset, update.length);
    places -= presenceCount(bytes);
    bytesLeft -= bytes.length;
    if (places < 0 || bytesLeft < 0) return ackStatus.payloadTooLarge;
    const some = presenceEntries(bytes, now + clockToleranceMs, earliest);
    if (some === undefined) return ackStatus.invalidUpdate;
    if (some.some((entry) => entry.key.length > maxKeyBytes)) return ackStatus.payloadTooLarge;
    for (const entry of some) entries.push(entry);
  }
  return entries;
}

/** The update that holds these entries. */
export function presenceUpdate(entries: readonly PresenceEntry[]): Uint8Array {
  const size = entries.reduce((sum, entry) => sum + entry.bytes.length, uintSize(entries.length));
  const update = new Uint8Array(size);
  let at = writeUint(update, entries.length, 0);
  for (const entry of entries) {
    update.set(entry.bytes, at);
    at += entry.bytes.length;
  }
  return update;
}

/** Presence is small and flat; what is nested deeper is an attempt on the reader's stack. */
const maxDepth = 64;

const valueTag = { null: 0, boolean: 1, double: 2, integer: 3, string: 4, list: 5, map: 6, binary: 8 } as const;

function skipValue(reader: ByteReader, depth: number): void {
  if (depth > maxDepth) reader.bad = true;
  if (reader.bad) return;
  switch (readByte(reader)) {
    case valueTag.null:
      return;
    case valueTag.boolean:
      if (readByte(reader) > 1) reader.bad = true;
      return;
    case valueTag.double:
      readBytes(reader, 8);
      return;
    case valueTag.integer:
      readSigned(reader);
      return;
    case valueTag.string:
      readText(reader);
      return;
    case valueTag.binary:
      readVarBytes(reader);
      return;
    case valueTag.list: {
      const length = readUint(reader);
      for (let n = 0; n < length && !reader.bad; n++) skipValue(reader, depth + 1);
      return;
    }
    case valueTag.map: {
      const length = readUint(reader);
      for (let n = 0; n < length && !reader.bad; n++) {
        readText(reader);
        skipValue(reader, depth + 1);
      }
      return;
    }
    default:
      reader.bad = true;
  }
}

/** Text must be UTF-8: one bad string would make readers refuse the entries of everybody that came in the same frame. */
function readText(reader: ByteReader): Buffer {
  const bytes = readVarBytes(reader);
  if (!isUtf8(bytes)) reader.bad = true;
  return bytes;
}

function concat(head: Uint8Array, tail: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(head.length + tail.length);
  bytes.set(head);
  bytes.set(tail, head.length);
  return bytes;
}

/** As `readSigned` reads it, of a safe integer that is not negative. */
const signed = (value: number) => Uint8Array.from(varint(BigInt(value) * 2n));

/** A zigzag LEB128 integer of at most 64 bits, rounded to a double. */
function readSigned(reader: ByteReader): number {
  const start = reader.offset;
  const value = readVarint(reader, 10);
  // The tenth byte holds the last of 64 bits.
  if (reader.offset - start === 10 && (reader.data[reader.offset - 1] ?? 0) > 1) reader.bad = true;
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}
