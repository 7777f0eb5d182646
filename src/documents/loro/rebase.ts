import type { LoroDoc, PeerID, VersionVector } from "loro-crdt";
import { PerchError } from "../../errors.js";
import { isServerPeer } from "../server-peers.js";
import type { PatchBase } from "./api.js";
import type { CachedDocument } from "./cache.js";
import { changedFields } from "./changed-fields.js";
import { scalarRoot } from "./fields.js";
import { withHandle } from "./handles.js";
import { project } from "./projection.js";
import type { FieldPatch } from "./values.js";
import { atVersion } from "./version.js";

/*
 * What is written at an earlier version is concurrent with everything since, so it takes a peer that has written nothing since: a writer
 * who goes on naming an old version takes a new one for each patch, and a document keeps every peer there ever was. So from some number on
 * such a patch is merged aside, on a copy, and what it changes there is written at the head: the same words, under a peer that goes on.
 *
 * Its operations then come after what others wrote that its author never saw. A patch that says it is based on what was read up to a position
 * and on its author's own earlier patch (see patch-base.ts) would take all of that for seen, and what of it is not in its text for
 * deleted. That such a base names no version that ever was shows: it has operations without some that these come after. It is refused, and its
 * author reads the document again.
 *
 * A patch without a base is made on everything that was pushed before it. So it follows the last peer of its worker, needs none of its own, and
 * stays where it belongs however many there are. Only where one before it, that named an old version, was written on top of edits that came after
 * the push, no version has the one without the other. It is then merged as if it knew neither, but for this: of two values of one scalar that of the
 * later push stays, as its author was told, unless somebody who pushed nothing has set another since.
 */

/** Of perch's own peers in one document, beyond which none is added for the sake of an earlier version. */
const maxServerPeers = 200;

export function isCrowded(version: VersionVector): boolean {
  if (version.length() < maxServerPeers) return false;
  let count = 0;
  for (const peer of version.toJSON().keys()) if (isServerPeer(peer)) count++;
  return count >= maxServerPeers;
}

/** Whether a version has everything that what is in it was made after. */
export function isClosed(doc: LoroDoc, version: VersionVector): boolean {
  return withHandle(doc.frontiersToVV(doc.vvToFrontiers(version)), (all) => all.compare(version) === 0);
}

/** Whether a patch follows all that was pushed before it: a peer that it takes goes on being used by those after it. */
export function isInTurn(base: PatchBase): boolean {
  return typeof base === "object" && "ends" in base && base.orElse !== undefined;
}

/** Those of the scalars that were last set under one of these peers: what else is to be written for the later push to win. */
export function overruling(
  doc: LoroDoc,
  scalars: readonly FieldPatch[],
  changes: readonly FieldPatch[],
  overruled: ReadonlySet<string>,
): FieldPatch[] {
  if (overruled.size === 0) return [];
  return withHandle(doc.getMap(scalarRoot), (map) =>
    scalars.filter(({ name }) => {
      const last = map.getLastEditor(name);
      return last !== undefined && overruled.has(last) && !changes.some((change) => change.name === name);
    }),
  );
}

export function unseenBase(): PerchError {
  const why = "its author's last patch was merged with edits that came before it; read the document again";
  return new PerchError("PE410", `the patch's base is no version of the document: ${why}`, { reason: "base" });
}

/** In: an edit at an earlier version, and a peer that nobody has. Out: what it changes, once it is merged, in what there is now. */
export function changesAtHead(
  { doc, schema }: CachedDocument,
  version: VersionVector,
  peer: PeerID,
  edit: (doc: LoroDoc) => void,
): FieldPatch[] {
  return withHandle(doc.fork(), (copy) => {
    atVersion(copy, version, () => {
      copy.setPeerId(peer);
      edit(copy);
      copy.commit();
    });
    return changedFields(schema.fields, project(doc, schema.fields), project(copy, schema.fields));
  });
}
