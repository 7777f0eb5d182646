/**
 * Reading and writing the protocol's integers and byte strings. A reader never throws and never allocates by what the sender
 * claims: on the first thing that does not fit it is marked bad, and everything read after that is empty.
 */

export interface ByteReader {
  readonly data: Buffer;
  offset: number;
  bad: boolean;
}

export function readerOf(data: Buffer): ByteReader {
  return { data, offset: 0, bad: false };
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

/** A LEB128 integer below 2^32. */
export function readUint(reader: ByteReader): number {
  let value = 0;
  for (let shift = 0; shift < 35; shift += 7) {
    const byte = readByte(reader);
    value += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) {
      if (value <= 0xffff_ffff) return value;
      break;
    }
  }
  reader.bad = true;
  return 0;
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
