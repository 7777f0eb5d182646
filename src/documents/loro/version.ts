import { decodeImportBlobMeta, type LoroDoc, type PeerID, VersionVector } from "loro-crdt";
import { PerchError } from "../../errors.js";
import type { PatchBase } from "./api.js";
import { withHandle } from "./handles.js";

/** The document's version, encoded; the empty document's is one zero byte. */
export function encodedVersion(doc: LoroDoc): Uint8Array {
  return withHandle(doc.oplogVersion(), (version) => version.encode());
}

/** Errors: PE422 when the bytes are no version vector. */
export function decodeVersion(bytes: Uint8Array): VersionVector {
  try {
    return VersionVector.decode(bytes);
  } catch (error) {
    if (error instanceof Error) throw error;
    throw new PerchError("PE422", "the version does not decode", { reason: String(error) });
  }
}

/** The version `base` names. Out: undefined for the head. Every stored blob is whole, so the ends of their spans add up to it. */
export function baseVersion(base: PatchBase): VersionVector | undefined {
  if (base === "head") return undefined;
  if ("version" in base) return decodeVersion(base.version);
  const ends = new Map<PeerID, number>();
  for (const blob of base.snapshot === null ? base.updates : [base.snapshot, ...base.updates]) {
    const meta = decodeImportBlobMeta(blob, false);
    withHandle(meta.partialEndVersionVector, (vector) => {
      for (const [peer, end] of vector.toJSON()) ends.set(peer, Math.max(end, ends.get(peer) ?? 0));
    });
    meta.partialStartVersionVector.free();
  }
  return VersionVector.parseJSON(ends);
}
