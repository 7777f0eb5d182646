import type { ContainerID } from "loro-crdt";
import { type FieldKinds, isScalar, scalarRoot } from "./fields.js";
import { containerKinds } from "./kinds/index.js";

export const scalarRootId: ContainerID = `cid:root-${scalarRoot}:Map`;

/** The fixed id of a container field's root: the same in every replica, so that two offline creations merge. */
export function rootId(name: string, kind: keyof typeof containerKinds): ContainerID {
  return `cid:root-${name}:${containerKinds[kind].type}`;
}

export interface RootName {
  name: string;
  type: string;
}

/** In: any container id. Out: name and type of a root container, undefined for one that was created inside another. */
export function parseRootId(id: string): RootName | undefined {
  if (!id.startsWith("cid:root-")) return undefined;
  const end = id.lastIndexOf(":");
  return { name: id.slice("cid:root-".length, end), type: id.slice(end + 1) };
}

/** The root containers a document of this table may have. */
export function declaredRoots(fields: FieldKinds): Set<string> {
  const roots = new Set<string>([scalarRootId]);
  for (const [name, kind] of Object.entries(fields)) {
    if (!isScalar(kind)) roots.add(rootId(name, kind));
  }
  return roots;
}

/** How a container type is called in error messages, in the words of a declaration where there is one. */
export function kindOfType(type: string): string {
  for (const [name, kind] of Object.entries(containerKinds)) if (kind.type === type) return name;
  return type;
}
