/**
 * Version vectors as Loro encodes them, read and written without it: on a thread that must not decode what strangers send, and in a
 * fraction of the time.
 */
export type VersionMap = ReadonlyMap<string, number>;

/** For each peer, in decimal digits, the counter behind its last operation. */
type Counters = Map<string, number>;

const maxPeer = 2n ** 64n;
const maxCounter = 2 ** 31;

/**
 * Out: undefined for whatever is not exactly what Loro would write, be it that Loro would read it all the same: let an engine's
 * thread say what it is.
 */
export function decodeVersionMap(bytes: Uint8Array): VersionMap | undefined {
  const counters: Counters = new Map();
  let at = 0;
  /** A LEB128 integer in its shortest form. */
  const integer = (): bigint | undefined => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) return undefined;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return byte === 0 && shift > 0n ? undefined : value;
    }
    return undefined;
  };
  const count = integer();
  // No entry takes less than two bytes.
  if (count === undefined || count > bytes.length / 2) return undefined;
  for (let entry = 0; entry < count; entry++) {
    const [peer, zigzag] = [integer(), integer()];
    if (peer === undefined || zigzag === undefined || peer >= maxPeer) return undefined;
    const counter = Number(zigzag) / 2;
    if (!Number.isInteger(counter) || counter >= maxCounter) return undefined;
    counters.set(`${peer}`, counter);
  }
  return at === bytes.length && counters.size === Number(count) ? counters : undefined;
}

/** At least one byte. */
export function encodeVersionMap(version: VersionMap): Uint8Array {
  const bytes: number[] = [];
  const integer = (value: bigint): void => {
    let rest = value;
    for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
    bytes.push(Number(rest));
  };
  integer(BigInt(version.size));
  for (const [peer, counter] of version) {
    integer(BigInt(peer));
    integer(BigInt(counter) * 2n);
  }
  return Uint8Array.from(bytes);
}
