import type { LoroDoc, PeerID, VersionVector } from "loro-crdt";
import { isServerPeer } from "../server-peers.js";
import type { CachedDocument } from "./cache.js";
import { changedFields } from "./changed-fields.js";
import { withHandle } from "./handles.js";
import { project } from "./projection.js";
import type { FieldPatch } from "./values.js";
import { atVersion } from "./version.js";

/*
 * What is written at an earlier version is concurrent with everything since, so it takes a peer that has written nothing since: a writer
 * who goes on naming an old version takes a new one for each patch, and a document keeps every peer there ever was. So from some number on
 * such a patch is merged aside, on a copy, and what it changes there is written at the head: the same words, under a peer that goes on.
 */

/** Of perch's own peers in one document, beyond which none is added for the sake of an earlier version. */
const maxServerPeers = 200;

export function isCrowded(version: VersionVector): boolean {
  if (version.length() < maxServerPeers) return false;
  let count = 0;
  for (const peer of version.toJSON().keys()) if (isServerPeer(peer)) count++;
  return count >= maxServerPeers;
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
