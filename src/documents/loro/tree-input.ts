import { PerchError } from "../../errors.js";
import type { Json } from "./json.js";
import { describeValue, mismatch } from "./refusals.js";

/** A node of a wanted tree. */
export interface TreeInput {
  id: string;
  parent: string | null;
  data: Record<string, Json>;
}

/**
 * Checks a wanted tree: `[{id, parent, …}]`, parents anywhere in the list, siblings in its order.
 * Errors: PE422 naming the node for an id that is missing or given twice, an unknown parent, a cycle; PE413 for the depth.
 */
export function checkTreeInput(
  schema: { readonly table: string },
  field: string,
  nodes: Json[],
  maxDepth: number,
): Json[] {
  const parents = new Map<string, string | null>();
  const at = (index: number, key: string) => `${field}[${index}]${key}`;
  for (const [index, node] of nodes.entries()) {
    if (typeof node !== "object" || node === null || Array.isArray(node)) {
      throw mismatch(schema, at(index, ""), "a node {id, parent, …}", describeValue(node));
    }
    const { id, parent = null } = node;
    if (typeof id !== "string" || id === "")
      throw mismatch(schema, at(index, ".id"), "a string that is not empty", describeValue(id));
    if (parents.has(id))
      throw mismatch(schema, at(index, ".id"), "an id of its own", `${describeValue(id)} for the second time`);
    if (parent !== null && typeof parent !== "string") {
      throw mismatch(schema, at(index, ".parent"), "the id of another node, or null", describeValue(parent));
    }
    parents.set(id, parent);
  }
  const depths = new Map<string, number>();
  for (const [index, node] of nodes.entries()) {
    const { id } = node as { id: string };
    const path = new Set<string>();
    for (let next: string | null = id; next !== null && !depths.has(next); next = parents.get(next) ?? null) {
      const parent = parents.get(next);
      if (parent !== null && parent !== undefined && !parents.has(parent)) {
        throw mismatch(schema, `${field}[id=${next}].parent`, "the id of another node, or null", describeValue(parent));
      }
      if (path.has(next)) {
        throw mismatch(
          schema,
          at(index, ".parent"),
          "a parent that is not below the node itself",
          describeValue(parent),
        );
      }
      path.add(next);
    }
    for (const step of [...path].reverse()) depths.set(step, 1 + (depths.get(parents.get(step) ?? "") ?? 0));
    const depth = depths.get(id) ?? 0;
    if (depth > maxDepth) {
      throw new PerchError("PE413", `${schema.table}.${field}: node ${id} is nested deeper than ${maxDepth}`, {
        limit: "depth",
        max: maxDepth,
        table: schema.table,
        field,
      });
    }
  }
  return nodes;
}

/** In: a list that `checkTreeInput` accepted. */
export function treeInput(nodes: Json[]): TreeInput[] {
  return (nodes as { [key: string]: Json }[]).map(({ id, parent = null, ...data }) => ({
    id: id as string,
    parent: parent as string | null,
    data,
  }));
}
