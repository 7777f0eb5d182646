import { LoroDoc, type LoroTree, type PeerID } from "loro-crdt";
import { PerchError } from "../../errors.js";
import type { Ends } from "./api.js";
import type { CachedDocument } from "./cache.js";
import { changedFields } from "./changed-fields.js";
import { withHandle } from "./handles.js";
import { type Json, sameJson } from "./json.js";
import { mergeAll } from "./merge.js";
import { applyPatch } from "./patch.js";
import { isEmpty, project } from "./projection.js";
import type { ReconcileOptions } from "./reconcile.js";
import { readTree, type TreeNode } from "./tree.js";
import { versionOfEnds } from "./version.js";

/**
 * Lets `look` see the document as it was at an earlier version: a document of its own, of the operations up to there and nothing
 * else. Cheaper than checking out a fork, and containers that were touched later are not in it, so they are null as they were.
 * Errors: PE422 when the document never had that version.
 */
function withVersion<Result>({ doc }: CachedDocument, ends: Ends, look: (past: LoroDoc) => Result): Result {
  checkKnown(doc, ends);
  return withHandle(new LoroDoc(), (past) => {
    const spans = Object.entries(ends).filter(([, end]) => end > 0);
    if (spans.length > 0) {
      const operations = doc.export({
        mode: "updates-in-range",
        spans: spans.map(([peer, len]) => ({ id: { peer: peer as PeerID, counter: 0 }, len })),
      });
      mergeAll(
        past,
        [operations],
        spans.reduce((count, [, end]) => count + end, 0),
      );
    }
    return look(past);
  });
}

/** The plain JSON of the document as it was at a version. Errors: PE422. */
export function projectAt(held: CachedDocument, ends: Ends): Record<string, Json> {
  return withVersion(held, ends, (past) => project(past, held.schema.fields));
}

/**
 * Sets the document back to what it was at a version, by new operations on top of everything since: as little as differs, so what
 * others write meanwhile merges, and what was deleted comes back with its marks and nested containers. Loro's own way of doing so leaves
 * something to do: containers that were untouched then are empty now rather than null, and tree nodes that come back have new ids, and
 * not always their old place.
 * Errors: PE422 when the document never had that version.
 */
export function revertTo(held: CachedDocument, ends: Ends, options: ReconcileOptions): void {
  const { doc, schema } = held;
  const { fields } = schema;
  withVersion(held, ends, (past) => {
    const wanted = project(past, fields);
    doc.revertTo(past.oplogFrontiers());
    for (const [name, kind] of Object.entries(fields)) {
      if (kind !== "tree" || wanted[name] === null || isEmpty(wanted[name] ?? null)) continue;
      withHandle(past.getTree(name), (then) => withHandle(doc.getTree(name), (now) => renameNodes(now, then)));
    }
    const got = project(doc, fields);
    applyPatch(doc, changedFields(fields, got, wanted), options);
  });
}

/**
 * Nodes that were deleted since come back as new ones: they take on the ids they went by. Which is which is told by parent and data, so
 * that one that comes back in another place among its siblings is not taken for them.
 */
function renameNodes(now: LoroTree, then: LoroTree): void {
  const [came, were] = [readTree(now), readTree(then)];
  const present = new Set(came.map(({ treeId }) => treeId));
  const known = new Map(were.map((node) => [node.treeId, node.id]));
  const missing = new Map<string | null, TreeNode[]>();
  for (const node of were) {
    if (present.has(node.treeId)) continue;
    const siblings = missing.get(node.parent);
    if (siblings) siblings.push(node);
    else missing.set(node.parent, [node]);
  }
  /** What a parent is called from now on. */
  const names = new Map<string | null, string>();
  for (const { treeId, id, parent, data } of came) {
    const siblings = known.has(treeId)
      ? []
      : (missing.get(parent === null ? null : (names.get(parent) ?? parent)) ?? []);
    const same = siblings.findIndex((sibling) => sameJson(sibling.data, data));
    const [wanted] = siblings.splice(Math.max(0, same), 1);
    if (!wanted || wanted.id === id) continue;
    now.getNodeByID(treeId)?.data.set("id", wanted.id);
    names.set(id, wanted.id);
  }
}

function checkKnown(doc: LoroDoc, ends: Ends): void {
  const order = withHandle(versionOfEnds(ends), (version) =>
    withHandle(doc.oplogVersion(), (head) => version.compare(head)),
  );
  if (order === 0 || order === -1) return;
  throw new PerchError("PE422", "this is no earlier version of the document", { reason: "version" });
}
