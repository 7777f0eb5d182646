import { isUtf8 } from "node:buffer";
import {
  type ByteReader,
  ownCopy,
  readByte,
  readBytes,
  readerOf,
  readUint,
  readVarBytes,
  uintSize,
  varBytesSize,
  writeUint,
  writeVarBytes,
} from "../../lib/binary.js";

/** What the header of an encrypted record says is in it, in the clear: the operations of one peer from `first` to before `next`. */
export interface Span {
  readonly peer: Buffer;
  readonly first: number;
  readonly next: number;
}

/** For each peer (its id in hex) the counter behind its last operation. */
export type Version = ReadonlyMap<string, number>;

/** One encrypted record; `payload` is all of it, as it was sent; `mark` its iv and tag, which no other ciphertext has. */
export type EncryptedRecord = { readonly payload: Uint8Array; readonly mark: Uint8Array } & (
  | { readonly span: Span; readonly version?: undefined }
  /** A snapshot, which has everything up to a version. */
  | { readonly span?: undefined; readonly version: Version }
);

const recordKind = { span: 0x00, snapshot: 0x01 } as const;
const maxIdBytes = 64;
const maxPeers = 1_024;
const ivBytes = 12;
const tagBytes = 16;
/** Loro counts operations in 32 bits with a sign. */
const maxCounter = 2 ** 31 - 1;

/**
 * Takes the payload of a %ELO update apart: a count, then records, of which only the headers can be read.
 * Out: the records, copied; undefined when it is no such payload, or over the bounds that the specification recommends.
 */
export function encryptedRecords(container: Buffer): EncryptedRecord[] | undefined {
  const reader = readerOf(container);
  const count = readUint(reader);
  const records: EncryptedRecord[] = [];
  for (let n = 0; n < count && !reader.bad; n++) {
    const payload = readVarBytes(reader);
    const record = reader.bad ? undefined : encryptedRecord(payload);
    if (record === undefined) return undefined;
    records.push(record);
  }
  return reader.bad || reader.offset !== container.length ? undefined : records;
}

function encryptedRecord(bytes: Buffer): EncryptedRecord | undefined {
  const reader = readerOf(bytes);
  const kind = readByte(reader);
  let span: Span | undefined;
  let version: Map<string, number> | undefined;
  if (kind === recordKind.span) {
    span = { peer: Buffer.from(readId(reader)), first: readUint(reader), next: readUint(reader) };
    if (span.first >= span.next || span.next > maxCounter) return undefined;
  } else if (kind === recordKind.snapshot) {
    const count = readUint(reader);
    if (count > maxPeers) return undefined;
    version = new Map();
    for (let n = 0; n < count && !reader.bad; n++) {
      const peer = readId(reader).toString("hex");
      const counter = readUint(reader);
      if (counter > maxCounter) return undefined;
      version.set(peer, Math.max(counter, version.get(peer) ?? 0));
    }
  }
  const keyId = readVarBytes(reader);
  const iv = readVarBytes(reader);
  const ciphertext = readVarBytes(reader);
  if (reader.bad || reader.offset !== bytes.length) return undefined;
  if (keyId.length > maxIdBytes || !isUtf8(keyId) || iv.length !== ivBytes || ciphertext.length < tagBytes) {
    return undefined;
  }
  const payload = ownCopy(bytes);
  const mark = new Uint8Array([...iv, ...ciphertext.subarray(-tagBytes)]);
  if (span !== undefined) return { payload, mark, span };
  return version === undefined ? undefined : { payload, mark, version };
}

function readId(reader: ByteReader): Buffer {
  const id = readVarBytes(reader);
  if (id.length === 0 || id.length > maxIdBytes) reader.bad = true;
  return id;
}

/** What a container holds at most, so that one with many small records fits a frame. */
const containerBytes = 128 * 1024;

/** The payloads that carry these records, in their order; a record larger than that has one of its own. */
export function containersOf(payloads: readonly Uint8Array[]): Uint8Array[] {
  const containers: Uint8Array[] = [];
  let first = 0;
  let size = 0;
  for (const [index, payload] of payloads.entries()) {
    const wanted = varBytesSize(payload);
    if (size > 0 && size + wanted > containerBytes) {
      containers.push(container(payloads.slice(first, index), size));
      first = index;
      size = 0;
    }
    size += wanted;
  }
  if (size > 0) containers.push(container(payloads.slice(first), size));
  return containers;
}

function container(payloads: readonly Uint8Array[], size: number): Uint8Array {
  const bytes = new Uint8Array(uintSize(payloads.length) + size);
  let at = writeUint(bytes, payloads.length, 0);
  for (const payload of payloads) at = writeVarBytes(bytes, payload, at);
  return bytes;
}

/*
 * A client names its version as Loro's VersionVector encodes it: a count, then for each peer its number and, zigzag, its counter.
 * In the records a peer is the text of that number.
 */

/** Out: the version that the bytes name, none being the empty one; undefined when they are no version. */
export function decodeVersion(bytes: Uint8Array): Version | undefined {
  const version = new Map<string, number>();
  if (bytes.length === 0) return version;
  const reader = readerOf(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
  const count = readUint(reader);
  for (let n = 0; n < count && !reader.bad; n++) {
    const peer = readUint64(reader);
    const counter = readUint(reader);
    if (counter % 2 !== 0) return undefined;
    version.set(Buffer.from(peer.toString()).toString("hex"), counter / 2);
  }
  return reader.bad || reader.offset !== reader.data.length ? undefined : version;
}

const maxPeer = 2n ** 64n;

/** At least one byte. Peers that are no numbers are nothing a Loro client could name, and are left out. */
export function encodeVersion(version: Version): Uint8Array {
  const entries = [...version].flatMap(([hex, counter]): [bigint, number][] => {
    const peer = Buffer.from(hex, "hex").toString("latin1");
    return /^(0|[1-9]\d{0,19})$/.test(peer) && BigInt(peer) < maxPeer ? [[BigInt(peer), counter]] : [];
  });
  const bytes: number[] = [];
  pushUint64(bytes, BigInt(entries.length));
  for (const [peer, counter] of entries) {
    pushUint64(bytes, peer);
    pushUint64(bytes, BigInt(counter) * 2n);
  }
  return Uint8Array.from(bytes);
}

function readUint64(reader: ByteReader): bigint {
  let value = 0n;
  for (let shift = 0n; shift < 70n; shift += 7n) {
    const [byte = 0] = readBytes(reader, 1);
    value += BigInt(byte & 0x7f) << shift;
    if (byte >= 0x80) continue;
    if (value < maxPeer) return value;
    break;
  }
  reader.bad = true;
  return 0n;
}

function pushUint64(bytes: number[], value: bigint): void {
  let rest = value;
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
}
