import { xxhash32 } from "../../../../src/documents/loro/format/xxhash32.js";
import type { Random } from "./edits.js";

const headerLength = 22;

/** Writes the checksum that fits the bytes: what an attacker does, and no accident. */
export function repairChecksum(blob: Uint8Array): Uint8Array {
  new DataView(blob.buffer, blob.byteOffset).setUint32(16, xxhash32(blob, 0x4f524f4c, 20), true);
  return blob;
}

/** A few bytes changed, put in or cut off, at random behind the header, the checksum repaired. */
export function corrupt(update: Uint8Array, random: Random): Uint8Array {
  const below = (limit: number) => Math.floor(random() * limit);
  let blob = new Uint8Array(update);
  for (let changes = 1 + below(3); changes > 0; changes--) {
    const at = headerLength + below(blob.length - headerLength);
    const choice = below(4);
    if (choice === 0) blob[at] = below(256);
    else if (choice === 1) blob[at] = (blob[at] ?? 0) ^ (1 << below(8));
    else if (choice === 2) blob[at] = below(2) * 255;
    else blob[at] = (blob[at] ?? 0) + (below(2) ? 1 : -1);
  }
  const cut = below(12);
  if (cut === 0) blob = blob.slice(0, headerLength + 1 + below(blob.length - headerLength - 1));
  if (cut === 1) {
    const at = headerLength + below(blob.length - headerLength);
    blob = Uint8Array.from([
      ...blob.subarray(0, at),
      ...Array.from({ length: 1 + below(8) }, () => below(256)),
      ...blob.subarray(at),
    ]);
  }
  return repairChecksum(blob);
}
