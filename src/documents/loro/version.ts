import { decodeImportBlobMeta, type LoroDoc, type PeerID, VersionVector } from "loro-crdt";
import { PerchError } from "../../errors.js";
import type { Ends, PatchBase } from "./api.js";
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
    throw new PerchError("PE422", "the version does not decode: pass what doc.version().encode() gave", {
      reason: String(error),
    });
  }
}

/**
 * Runs `edit` with the document as it was at `base`, an earlier version, or as it is; what it commits is concurrent with everything
 * since, and merged when it returns. After an error the document may be left at the base.
 */
export function atVersion(doc: LoroDoc, base: VersionVector | undefined, edit: () => void): void {
  if (base === undefined) {
    edit();
    return;
  }
  // A checkout of the document itself, not of a fork: a fork costs several times as much, and the import on top.
  doc.setDetachedEditing(true);
  doc.checkout(doc.vvToFrontiers(base));
  edit();
  doc.checkoutToLatest();
  doc.setDetachedEditing(false);
}

/** The version that `base` names, undefined when that is the head. Errors: PE422 when the document never had it. */
export function earlierVersion(head: VersionVector, base: PatchBase): VersionVector | undefined {
  const version = baseVersion(base);
  const order = version?.compare(head);
  if (order === -1) return version;
  version?.free();
  if (version === undefined || order === 0) return undefined;
  throw new PerchError("PE422", "the patch's base is no earlier version of the document", { reason: "base" });
}

/** The version `base` names, undefined for the head. Every stored blob is whole, so the ends of their spans add up to it. */
function baseVersion(base: PatchBase): VersionVector | undefined {
  if (base === "head") return undefined;
  if ("version" in base) return decodeVersion(base.version);
  if ("ends" in base) return versionOfEnds(base.ends);
  const ends = new Map<PeerID, number>();
  for (const blob of base.snapshot === null ? base.updates : [base.snapshot, ...base.updates]) {
    const meta = decodeImportBlobMeta(blob, false);
    meta.partialStartVersionVector.free();
    withHandle(meta.partialEndVersionVector, (vector) => {
      for (const [peer, end] of vector.toJSON()) ends.set(peer, Math.max(end, ends.get(peer) ?? 0));
    });
  }
  return VersionVector.parseJSON(ends);
}

/** In: for each peer the counter behind its last operation. Errors: PE422 when it is no such thing. */
export function versionOfEnds(ends: Ends): VersionVector {
  const entries = Object.entries(ends);
  for (const [peer, end] of entries) {
    if (!/^\d{1,20}$/.test(peer) || !Number.isInteger(end) || end < 0 || end >= 2 ** 31) {
      throw new PerchError(
        "PE422",
        "the version is none of this kind of document: pass what doc.version().encode() gave",
        { reason: "version", peer, got: end },
      );
    }
  }
  return VersionVector.parseJSON(new Map(entries as [PeerID, number][]));
}
