const prime1 = 0x9e3779b1;
const prime2 = 0x85ebca77;
const prime3 = 0xc2b2ae3d;
const prime4 = 0x27d4eb2f;
const prime5 = 0x165667b1;

const rotate = (value: number, bits: number) => (value << bits) | (value >>> (32 - bits));

/** xxHash32 of `bytes` from `start` on, unsigned. */
export function xxhash32(bytes: Uint8Array, seed: number, start = 0): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes.length;
  let at = start;
  let hash: number;
  if (end - start >= 16) {
    let v1 = (seed + prime1 + prime2) | 0;
    let v2 = (seed + prime2) | 0;
    let v3 = seed | 0;
    let v4 = (seed - prime1) | 0;
    for (const limit = end - 16; at <= limit; at += 16) {
      v1 = Math.imul(rotate((v1 + Math.imul(view.getUint32(at, true), prime2)) | 0, 13), prime1);
      v2 = Math.imul(rotate((v2 + Math.imul(view.getUint32(at + 4, true), prime2)) | 0, 13), prime1);
      v3 = Math.imul(rotate((v3 + Math.imul(view.getUint32(at + 8, true), prime2)) | 0, 13), prime1);
      v4 = Math.imul(rotate((v4 + Math.imul(view.getUint32(at + 12, true), prime2)) | 0, 13), prime1);
    }
    hash = (rotate(v1, 1) + rotate(v2, 7) + rotate(v3, 12) + rotate(v4, 18)) | 0;
  } else {
    hash = (seed + prime5) | 0;
  }
  hash = (hash + (end - start)) | 0;
  for (; at + 4 <= end; at += 4) {
    hash = Math.imul(rotate((hash + Math.imul(view.getUint32(at, true), prime3)) | 0, 17), prime4);
  }
  for (; at < end; at++) hash = Math.imul(rotate((hash + Math.imul(view.getUint8(at), prime5)) | 0, 11), prime1);
  hash = Math.imul(hash ^ (hash >>> 15), prime2);
  hash = Math.imul(hash ^ (hash >>> 13), prime3);
  return (hash ^ (hash >>> 16)) >>> 0;
}
