import type { LoroTree, TreeID } from "loro-crdt";
import { type Json, sameJson, toJson } from "./json.js";
import { type ReconcileOptions, reconcileMap } from "./reconcile.js";
import { rising } from "./sequence.js";
import type { TreeInput } from "./tree-input.js";

export interface TreeNode extends TreeInput {
  treeId: TreeID;
  /** The id it was given, which another node may have. */
  wish: unknown;
}

interface Shape {
  id: TreeID;
  children: Shape[];
  meta: Record<string, unknown>;
}

/**
 * The live nodes of a tree, parents before children, siblings in order.
 *
 * A node that a patch made carries the id it was given in its data, under `id`; every other node goes by its TreeID. Should two nodes
 * claim one id (created by two replicas at once), the one with the lesser TreeID has it, in every replica.
 */
export function readTree(tree: LoroTree): TreeNode[] {
  const shapes: { shape: Shape; parent: TreeID | undefined }[] = [];
  const stack = (tree.toJSON() as Shape[])
    .map((shape) => ({ shape, parent: undefined as TreeID | undefined }))
    .reverse();
  for (let next = stack.pop(); next; next = stack.pop()) {
    shapes.push(next);
    for (const child of [...next.shape.children].reverse()) stack.push({ shape: child, parent: next.shape.id });
  }
  const ids = nameNodes(shapes.map(({ shape }) => shape));
  return shapes.map(({ shape, parent }) => {
    const { id: _id, parent: _parent, ...data } = toJson(shape.meta) as { [key: string]: Json };
    return {
      treeId: shape.id,
      id: ids.get(shape.id) ?? shape.id,
      parent: parent === undefined ? null : (ids.get(parent) ?? parent),
      data,
      wish: shape.meta.id,
    };
  });
}

function nameNodes(shapes: readonly Shape[]): Map<TreeID, string> {
  const names = new Map<TreeID, string>();
  const owners = new Map<string, TreeID>(shapes.map(({ id }) => [id, id]));
  for (const { id, meta } of shapes) {
    const wish = meta.id;
    if (typeof wish !== "string" || wish === "") continue;
    const owner = owners.get(wish);
    if (owner !== undefined && (owner === wish || owner < id)) continue;
    if (owner !== undefined) names.delete(owner);
    owners.set(wish, id);
    names.set(id, wish);
  }
  return names;
}

/** A tree as it stands in the projection and in patches. */
export function treeToJson(tree: LoroTree): Json[] {
  return readTree(tree).map(({ id, parent, data }) => ({ ...data, id, parent }));
}

/** What of a node's data is not data: the id it was given, and a name that the projection needs for itself. */
const structural: ReadonlySet<string> = new Set(["id", "parent"]);

/**
 * Brings a tree to the wanted nodes: creates what is new, moves what has another parent or place (as few as possible), changes data key by
 * key, deletes what is not wanted. In: what `treeInput` gave.
 */
export function reconcileTree(tree: LoroTree, wanted: readonly TreeInput[], options: ReconcileOptions): void {
  const existing = new Map(readTree(tree).map((node) => [node.id, node]));
  const places = new Map<string, { treeId: TreeID; parent: string | null }>();
  const children = new Map<string | null, string[]>();
  for (const [id, { treeId, parent }] of existing) {
    places.set(id, { treeId, parent });
    children.set(parent, [...(children.get(parent) ?? []), id]);
  }
  const wantedChildren = new Map<string | null, TreeInput[]>();
  for (const node of wanted) {
    const siblings = wantedChildren.get(node.parent);
    if (siblings) siblings.push(node);
    else wantedChildren.set(node.parent, [node]);
  }

  // Parents before children: by the time a node is placed, all above it is where it shall be, so no move can close a cycle.
  const queue: (string | null)[] = [null];
  for (let parent = queue.shift(); parent !== undefined; parent = queue.shift()) {
    const siblings = wantedChildren.get(parent) ?? [];
    placeSiblings(parent, siblings);
    for (const { id } of siblings) queue.push(id);
  }
  const keep = new Set(wanted.map(({ id }) => id));
  for (const [id, { parent, treeId, wish }] of existing) {
    // What hangs below a deleted node goes with it.
    if (!keep.has(id) && (parent === null || keep.has(parent))) tree.delete(treeId);
    // Its name would go to another that claimed it, which is wanted under the one that it has.
    if (keep.has(id) && typeof wish === "string" && wish !== id && existing.has(wish) && !keep.has(wish))
      tree.getNodeByID(treeId)?.data.set("id", id);
  }

  function placeSiblings(parent: string | null, siblings: readonly TreeInput[]): void {
    const now = children.get(parent) ?? [];
    const order = new Map(now.map((id, index) => [id, index]));
    const here = siblings.flatMap(({ id }, index) => {
      const place = order.get(id);
      return place === undefined ? [] : [[place, index] as [number, number]];
    });
    const stays = new Set(rising(here).map(([, index]) => index));
    const parentId = parent === null ? undefined : places.get(parent)?.treeId;
    let previous: TreeID | undefined;
    for (const [index, node] of siblings.entries()) {
      const treeId = place(node, parentId, previous, stays.has(index));
      previous = treeId;
    }
  }

  function place(node: TreeInput, parentId: TreeID | undefined, previous: TreeID | undefined, stays: boolean): TreeID {
    const known = places.get(node.id);
    if (!known) {
      const created = tree.createNode(parentId, previous === undefined ? 0 : indexOf(previous) + 1);
      reconcileMap(created.data, { ...node.data, id: node.id }, options);
      places.set(node.id, { treeId: created.id, parent: node.parent });
      return created.id;
    }
    const handle = tree.getNodeByID(known.treeId);
    if (!handle) throw new TypeError(`the tree lost its node ${known.treeId}`);
    if (!stays) {
      const before = previous === undefined ? undefined : tree.getNodeByID(previous);
      if (before) handle.moveAfter(before);
      else tree.move(known.treeId, parentId, 0);
    }
    if (!sameJson(existing.get(node.id)?.data, node.data)) reconcileMap(handle.data, node.data, options, structural);
    return known.treeId;
  }

  function indexOf(id: TreeID): number {
    return tree.getNodeByID(id)?.index() ?? -1;
  }
}
