import { decodeVersionMap, encodeVersionMap, type VersionMap } from "../loro/format/version-vector.js";
import type { Exported } from "./export-cache.js";
import type { VersionedDocument, VersionedUpdate } from "./queries.js";

/*
 * A reader is answered with the very bytes that are stored, and no thread has to decode the document first. Each of them was decoded and
 * checked by an engine before it was stored: the updates when they came, and the snapshot is of an engine's own making.
 *
 * The version that goes with them is of what engines said: of the snapshot's by the one that made it, and for each update where the
 * operations end that were new in it. What was not new in it is in something stored before it: an engine imports on top of what is
 * committed and of what is committed before the update or with it. So the version never claims what is not among these bytes. An
 * update stored as one of several is not asked, since the last of them answers for all; where the last is missing (it was too long for the
 * database), the version claims less than is given, which does no harm.
 */

/** What the tail may add to the snapshot in bytes; folding keeps it to half of that. */
const minTailBytes = 64 * 1024;
/** A client spends some 30 ms more on a thousand small updates than on one that has them all, which an engine would have to make. */
const maxTailUpdates = 2_000;

/** The same where there are many peers: each update takes a client time by their number. An engine makes one piece of them all. */
const maxTailWork = 500_000;

/**
 * Of some six thousand peers. Longer versions are for a thread: to read and write one of a hundred thousand takes half a second, in which this
 * process would serve nobody.
 */
export const maxVersionBytes = 64 * 1024;

/**
 * What a reader at `version` (encoded) lacks of what is stored, or more. Out: undefined where an engine has to tell: the reader knows
 * a part of the snapshot; the tail is long; nobody noted the snapshot's version; the reader's version does not look like one; a version
 * is long.
 */
export function fromStored(stored: VersionedDocument, version: Uint8Array): Exported | undefined {
  const { snapshot, updates } = stored;
  const last = updates.at(-1);
  if (isLong(stored) || (last && last.ends === null)) return undefined;
  if (version.byteLength + (stored.snapshotVersion?.byteLength ?? 0) > maxVersionBytes) return undefined;
  const theirs = decodeVersionMap(version);
  const base = snapshotVersion(stored);
  if (!theirs || !base || base.size * updates.length > maxTailWork) return undefined;
  const exported = (lacking: readonly Uint8Array[]) => ({ version: versionOf(base, updates), updates: lacking });
  if (theirs.size === 0) {
    const tail = updates.map(({ payload }) => payload);
    return exported(snapshot === null ? tail : [snapshot, ...tail]);
  }
  if (!covers(theirs, base)) return undefined;
  return exported(updates.filter((update) => !has(theirs, update)).map(({ payload }) => payload));
}

function isLong({ snapshot, updates }: VersionedDocument): boolean {
  if (updates.length > maxTailUpdates) return true;
  const bytes = updates.reduce((sum, { payload }) => sum + payload.byteLength, 0);
  return bytes > Math.max(minTailBytes, snapshot?.byteLength ?? 0);
}

function snapshotVersion({ snapshot, snapshotVersion }: VersionedDocument): VersionMap | undefined {
  if (snapshot === null) return new Map();
  return snapshotVersion === null ? undefined : decodeVersionMap(snapshotVersion);
}

function covers(theirs: VersionMap, version: VersionMap): boolean {
  for (const [peer, end] of version) if ((theirs.get(peer) ?? 0) < end) return false;
  return true;
}

/** A reader who has the last new operation of each peer has all before them, and what the update repeats is in others. */
function has(theirs: VersionMap, { ends }: VersionedUpdate): boolean {
  if (ends === null) return false;
  for (const peer in ends) if ((theirs.get(peer) ?? 0) < (ends[peer] ?? 0)) return false;
  return true;
}

function versionOf(base: VersionMap, updates: readonly VersionedUpdate[]): Uint8Array {
  const version = new Map(base);
  for (const { ends } of updates) {
    for (const peer in ends) version.set(peer, Math.max(ends[peer] ?? 0, version.get(peer) ?? 0));
  }
  return encodeVersionMap(version);
}
