import { isUtf8 } from "node:buffer";
import { decodeVersionMap, encodeVersionMap } from "../../documents/loro/format/version-vector.js";
import {
  type ByteReader,
  ownCopy,
  readByte,
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
export type PeerVersion = ReadonlyMap<string, number>;

/** One encrypted record; `payload` is all of it, as it was sent; `mark` its iv and tag, which no other ciphertext has. */
export type EncryptedRecord = { readonly payload: Uint8Array; readonly mark: Uint8Array } & (
  | { readonly span: Span; readonly version?: undefined }
  /** A snapshot, which has everything up to a version. */
  | { readonly span?: undefined; readonly version: PeerVersion }
);

const recordKind = { span: 0x00, snapshot: 0x01 } as const;
const maxIdBytes = 64;
/** Each session of a client is one: an old document has thousands, and whoever joins sends a snapshot that names them all. */
const maxPeers = 16_384;
const ivBytes = 12;
const tagBytes = 16;
/** Loro counts operations in 32 bits with a sign. */
const maxCounter = 2 ** 31 - 1;

/** How many records, and peers named by their snapshots, a batch may still have. Below 0: it has too many. */
export interface Allowance {
  records: number;
  peers: number;
}

/** Of one batch; official clients send one record for each peer, and one snapshot. */
export const allowanceOfBatch: Readonly<Allowance> = { records: 4_096, peers: maxPeers };

/**
 * Takes the payload of a %ELO update apart: a count, then records, of which only the headers can be read. What is in it is counted before it
 * is read: three bytes name a peer, and there may be millions.
 * In: what the batch may still have, from which this is taken. Out: the records, copied; undefined when it is no such payload, or
 * has more than the batch may.
 */
export function encryptedRecords(container: Buffer, allowance: Allowance): EncryptedRecord[] | undefined {
  const reader = readerOf(container);
  const count = readUint(reader);
  allowance.records -= count;
  if (allowance.records < 0) return undefined;
  const records: EncryptedRecord[] = [];
  for (let n = 0; n < count && !reader.bad; n++) {
    const payload = readVarBytes(reader);
    const record = reader.bad ? undefined : encryptedRecord(payload, allowance);
    if (record === undefined) return undefined;
    records.push(record);
  }
  return reader.bad || reader.offset !== container.length ? undefined : records;
}

function encryptedRecord(bytes: Buffer, allowance: Allowance): EncryptedRecord | undefined {
  const reader = readerOf(bytes);
  const kind = readByte(reader);
  let span: Span | undefined;
  let version: Map<string, number> | undefined;
  if (kind === recordKind.span) {
    span = { peer: Buffer.from(readId(reader)), first: readUint(reader), next: readUint(reader) };
    if (span.first >= span.next || span.next > maxCounter) return undefined;
  } else if (kind === recordKind.snapshot) {
    const count = readUint(reader);
    allowance.peers -= count;
    if (allowance.peers < 0) return undefined;
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

/**
 * Out: the version that the bytes name, none being the empty one; undefined when they are no version. In the records a peer is the text of
 * its number.
 */
export function decodeVersion(bytes: Uint8Array): PeerVersion | undefined {
  if (bytes.length === 0) return new Map();
  const counters = decodeVersionMap(bytes);
  return counters && new Map([...counters].map(([peer, counter]) => [Buffer.from(peer).toString("hex"), counter]));
}

const isNumber = /^(0|[1-9]\d{0,19})$/;

/** At least one byte. Peers that are no numbers are nothing a Loro client could name, and are left out. */
export function encodeVersion(version: PeerVersion): Uint8Array {
  const peers = new Map<string, number>();
  for (const [hex, counter] of version) {
    const peer = Buffer.from(hex, "hex").toString("latin1");
    if (isNumber.test(peer) && (peer.length < 20 || BigInt(peer) < 2n ** 64n)) peers.set(peer, counter);
  }
  return encodeVersionMap(peers);
}
