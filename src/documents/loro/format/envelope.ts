import { PerchError } from "../../../errors.js";
import { xxhash32 } from "./xxhash32.js";

/** `loro`, 12 zero bytes, u32LE checksum of bytes 20.., u16BE mode. */
export const headerLength = 22;
const checksumAt = 16;
const modeAt = 20;
const checksumSeed = 0x4f524f4c;
const modes = { snapshot: 3, updates: 4 } as const;

export type BlobMode = keyof typeof modes;

/**
 * Looks at a blob from outside, without decoding it: safe on any thread, whatever the bytes.
 * Out: its mode. Errors: PE413 when it is larger than `maxBytes`, PE422 when it cannot be a Loro blob of the current format. A blob
 * that passes may still be forged: only an engine thread may decode it.
 */
export function checkEnvelope(blob: Uint8Array, maxBytes = Number.POSITIVE_INFINITY): BlobMode {
  if (blob.length > maxBytes) {
    throw new PerchError("PE413", `an update of ${blob.length} bytes is over the limit of ${maxBytes}`, {
      limit: "update_bytes",
      max: maxBytes,
      got: blob.length,
    });
  }
  if (blob.length < headerLength) throw invalid("it is too short to be a Loro update");
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  // "loro", then twelve zero bytes.
  if (view.getUint32(0) !== 0x6c6f726f || view.getUint32(4) || view.getUint32(8) || view.getUint32(12)) {
    throw invalid("it is not a Loro update");
  }
  const mode = view.getUint16(modeAt);
  if (mode !== modes.snapshot && mode !== modes.updates) throw invalid(`its encoding mode ${mode} is not supported`);
  if (xxhash32(blob, checksumSeed, modeAt) !== view.getUint32(checksumAt, true)) throw invalid("its checksum is wrong");
  return mode === modes.snapshot ? "snapshot" : "updates";
}

/**
 * Several updates as one: behind the header an updates blob is a row of blocks, each with its length, and Loro takes none with anything
 * else in it; so theirs can stand in one row.
 * Imported together they cost a quarter or less of what they cost one by one. In: one or more blobs that were checked, none of them a snapshot.
 */
export function joinUpdates(updates: readonly Uint8Array[]): Uint8Array {
  const [first] = updates;
  if (!first) throw new RangeError("no updates to join");
  if (updates.length === 1) return first;
  const blob = new Uint8Array(updates.reduce((sum, { length }) => sum + length - headerLength, headerLength));
  blob.set(first.subarray(0, headerLength));
  let at = headerLength;
  for (const update of updates) {
    blob.set(update.subarray(headerLength), at);
    at += update.length - headerLength;
  }
  new DataView(blob.buffer).setUint32(checksumAt, xxhash32(blob, checksumSeed, modeAt), true);
  return blob;
}

/** The mode of a blob that was checked when it came. */
export function modeOf(blob: Uint8Array): BlobMode {
  return blob[modeAt + 1] === modes.snapshot ? "snapshot" : "updates";
}

function invalid(reason: string): PerchError {
  return new PerchError("PE422", `the update was refused: ${reason}`, { reason });
}
