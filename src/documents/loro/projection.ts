import type { LoroDoc } from "loro-crdt";
import { type FieldKinds, isScalar, scalarRoot } from "./fields.js";
import { withHandle } from "./handles.js";
import type { Json } from "./json.js";
import { containerKinds, scalarKinds } from "./kinds/index.js";
import { rootId } from "./layout.js";

/**
 * The plain JSON of a document: every declared field, in the order of declaration, null when never set.
 *
 * A container field that no operation ever touched is null, and so is one that was cleared with null and is still empty; one that was
 * emptied otherwise is the empty value (see `applyPatch` for how that is told). Integers beyond 2^53 are decimal strings.
 */
export function project(doc: LoroDoc, fields: FieldKinds): Record<string, Json> {
  // Costs what the document has seen, and scalars do not need it.
  const touched = Object.values(fields).every(isScalar) ? new Set<string>() : touchedRoots(doc);
  return withHandle(doc.getMap(scalarRoot), (scalars) =>
    Object.fromEntries(
      Object.entries(fields).map(([name, kind]) => {
        const scalar: unknown = scalars.get(name);
        if (isScalar(kind)) return [name, scalarKinds[kind].read(scalar)];
        const { read, empty } = containerKinds[kind];
        // A mark is not null: the field was given the empty value when nothing had touched it yet.
        if (!touched.has(rootId(name, kind))) return [name, scalar === true ? empty : null];
        const value = read(doc, name);
        return [name, isEmpty(value) && scalar === null ? null : value];
      }),
    ),
  );
}

/**
 * The root containers that operations (or a handle) have touched. Merely asking a document for a container makes it appear here,
 * so nothing in these modules takes a handle of a container that is neither here nor about to be written.
 */
export function touchedRoots(doc: LoroDoc): Set<string> {
  return new Set(Object.values(doc.getShallowValue()));
}

export function isEmpty(value: Json): boolean {
  if (value === "" || value === 0) return true;
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}
