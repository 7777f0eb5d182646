import { readerOf, readUint64, requireShortest, uintSize, writeUint, writeUint64 } from "../../../lib/binary.js";

/**
 * Version vectors as Loro encodes them, read and written without it: on a thread that must not decode what strangers send, and in a
 * fraction of the time.
 */
export type VersionMap = ReadonlyMap<string, number>;

/** For each peer, in decimal digits, the counter behind its last operation. */
type Counters = Map<string, number>;

const maxCounter = 2 ** 31;
/** A peer of 64 bits and a counter of 32, with seven bits in a byte. */
const maxEntryBytes = 10 + 5;

/**
 * Out: undefined for whatever is not exactly what Loro would write, be it that Loro would read it all the same: let an engine's
 * thread say what it is.
 */
export function decodeVersionMap(bytes: Uint8Array): VersionMap | undefined {
  const counters: Counters = new Map();
  const reader = readerOf(bytes);
  const integer = (): bigint => {
    const start = reader.offset;
    const value = readUint64(reader);
    requireShortest(reader, start);
    return value;
  };
  const count = integer();
  // No entry takes less than two bytes.
  if (count > bytes.length / 2) return undefined;
  for (let entry = 0; entry < count && !reader.bad; entry++) {
    const [peer, zigzag] = [integer(), integer()];
    const counter = Number(zigzag) / 2;
    if (!Number.isInteger(counter) || counter >= maxCounter) return undefined;
    counters.set(`${peer}`, counter);
  }
  return !reader.bad && reader.offset === bytes.length && counters.size === Number(count) ? counters : undefined;
}

/** At least one byte. */
export function encodeVersionMap(version: VersionMap): Uint8Array {
  const bytes = new Uint8Array(uintSize(version.size) + maxEntryBytes * version.size);
  let at = writeUint(bytes, version.size, 0);
  for (const [peer, counter] of version) {
    at = writeUint64(bytes, BigInt(peer), at);
    at = writeUint(bytes, counter * 2, at);
  }
  return bytes.slice(0, at);
}
