/**
 * Reading and writing the protocol's integers and byte strings. A reader never throws and never allocates by what the sender
 * claims: on the first thing that does not fit it is marked bad, and everything read after that is empty.
 */

export interface ByteReader {
  readonly data: Buffer;
  offset: number;
  bad: boolean;
}

/** In: bytes; what is read of them are views. */
export function readerOf(data: Uint8Array): ByteReader {
  const view = Buffer.isBuffer(data) ? data : Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return { data: view, offset: 0, bad: false };
}

const nothing = Buffer.alloc(0);

export function readByte(reader: ByteReader): number {
  const byte = reader.data[reader.offset];
  if (byte === undefined || reader.bad) {
    reader.bad = true;
    return 0;
  }
  reader.offset += 1;
  return byte;
}

/** A LEB128 integer of at most so many bytes, as a double: exact up to 2^53. */
export function readVarint(reader: ByteReader, maxBytes: number): number {
  let value = 0;
  for (let n = 0; n < maxBytes; n++) {
    const byte = readByte(reader);
    value += (byte & 0x7f) * 2 ** (7 * n);
    if (byte < 0x80) return value;
  }
  reader.bad = true;
  return 0;
}

/** A LEB128 integer below 2^32. */
export function readUint(reader: ByteReader): number {
  const value = readVarint(reader, 5);
  if (value <= 0xffff_ffff) return value;
  reader.bad = true;
  return 0;
}

/** A LEB128 integer of 64 bits. */
export function readUint64(reader: ByteReader): bigint {
  let value = 0n;
  for (let shift = 0n; shift < 70n; shift += 7n) {
    const byte = readByte(reader);
    value |= BigInt(byte & 0x7f) << shift;
    if (byte >= 0x80) continue;
    if (value < 2n ** 64n) return value;
    break;
  }
  reader.bad = true;
  return 0n;
}

/** Marks the reader bad when the integer that it read from `start` on could have been written in fewer bytes. */
export function requireShortest(reader: ByteReader, start: number): void {
  if (reader.offset - start > 1 && reader.data[reader.offset - 1] === 0) reader.bad = true;
}

/** A LEB128 integer, by itself. */
export function varint(value: number | bigint): number[] {
  const bytes: number[] = [];
  let rest = BigInt(value);
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  return [...bytes, Number(rest)];
}

/** A view of the next `length` bytes; copy it when it has to outlive the buffer. */
export function readBytes(reader: ByteReader, length: number): Buffer {
  if (reader.bad || length > reader.data.length - reader.offset) {
    reader.bad = true;
    return nothing;
  }
  const start = reader.offset;
  reader.offset += length;
  return reader.data.subarray(start, reader.offset);
}

export function readVarBytes(reader: ByteReader): Buffer {
  return readBytes(reader, readUint(reader));
}

/** How many bytes `writeUint` writes for a value. */
export function uintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) size += 1;
  return size;
}

/** Writes a LEB128 integer; returns the offset after it. */
export function writeUint(into: Uint8Array, value: number, offset: number): number {
  let rest = value;
  let at = offset;
  while (rest >= 0x80) {
    into[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  into[at++] = rest;
  return at;
}

/** The same of a number of 64 bits. */
export function writeUint64(into: Uint8Array, value: bigint, offset: number): number {
  const high = Number(value >> 49n);
  let rest = Number(BigInt.asUintN(49, value));
  if (high === 0) return writeUint(into, rest, offset);
  let at = offset;
  for (let group = 0; group < 7; group++) {
    into[at++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  return writeUint(into, high, at);
}

/** Writes a length and the bytes; returns the offset after them. */
export function writeVarBytes(into: Uint8Array, bytes: Uint8Array, offset: number): number {
  const start = writeUint(into, bytes.length, offset);
  into.set(bytes, start);
  return start + bytes.length;
}

export function varBytesSize(bytes: Uint8Array): number {
  return uintSize(bytes.length) + bytes.length;
}

/** A copy with memory of its own: a view would keep, or be overwritten with, the socket's whole read buffer. */
export function ownCopy(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(bytes.length);
  copy.set(bytes);
  return copy;
}
