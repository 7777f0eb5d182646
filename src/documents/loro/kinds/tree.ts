import type { LoroTree } from "loro-crdt";
import { withHandle } from "../handles.js";
import { type Json, sameJson } from "../json.js";
import { readTree, reconcileTree, type TreeNode, treeToJson } from "../tree.js";
import { checkTreeInput, treeInput } from "../tree-input.js";
import type { ContainerKind } from "./kind.js";

export const tree: ContainerKind = {
  type: "Tree",
  empty: [],
  expected: "a list of nodes {id, parent, …}",
  accept(value, { schema, field, maxDepth, json }) {
    return Array.isArray(value) ? checkTreeInput(schema, field, json(value) as Json[], maxDepth) : undefined;
  },
  read: (doc, name) => withHandle(doc.getTree(name), treeToJson),
  write(doc, name, value, options) {
    withHandle(doc.getTree(name), (handle) => reconcileTree(handle, treeInput(value as Json[]), options));
  },
  restore(doc, past, name) {
    withHandle(past.getTree(name), (then) => withHandle(doc.getTree(name), (now) => renameNodes(now, then)));
  },
};

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
