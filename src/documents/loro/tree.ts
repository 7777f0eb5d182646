import type { LoroTree, TreeID } from "loro-crdt";

export interface ReadNode {
  treeId: TreeID;
  json: Record<string, unknown>;
}

/** The live nodes of a tree, parents before children, siblings in order, each as `{…data, id, parent}`. */
export function readTree(tree: LoroTree): ReadNode[] {
  const nodes: ReadNode[] = [];
  interface Shape {
    id: TreeID;
    parent: TreeID | null;
    meta: Record<string, unknown>;
    children: Shape[];
  }
  const stack = [...(tree.toJSON() as Shape[])].reverse();
  for (let node = stack.pop(); node; node = stack.pop()) {
    nodes.push({ treeId: node.id, json: { ...node.meta, id: node.id, parent: node.parent } });
    for (const child of [...node.children].reverse()) stack.push(child);
  }
  return nodes;
}
