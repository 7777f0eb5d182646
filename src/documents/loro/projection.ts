import type { LoroDoc } from "loro-crdt";
import { type ContainerKind, type FieldKinds, isScalar, type ScalarKind, scalarRoot } from "./fields.js";
import { withHandle } from "./handles.js";
import { exactInteger, type Json, storable, toJson } from "./json.js";
import { rootId } from "./layout.js";
import { treeToJson } from "./tree.js";

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
        if (isScalar(kind)) return [name, readScalar(kind, scalar)];
        // A mark is not null: the field was given the empty value when nothing had touched it yet.
        if (!touched.has(rootId(name, kind))) return [name, scalar === true ? emptyValue(kind) : null];
        const value = containerToJson(doc, name, kind);
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

function containerToJson(doc: LoroDoc, name: string, kind: ContainerKind): Json {
  switch (kind) {
    case "text":
      return withHandle(doc.getText(name), (text) => storable(text.toString()));
    case "counter":
      return withHandle(doc.getCounter(name), (counter) => finite(counter.getShallowValue()));
    case "tree":
      return withHandle(doc.getTree(name), treeToJson);
    case "list":
      return withHandle(doc.getList(name), (list) => toJson(list.toJSON()));
    case "movable_list":
      return withHandle(doc.getMovableList(name), (list) => toJson(list.toJSON()));
    case "map":
      return withHandle(doc.getMap(name), (map) => toJson(map.toJSON()));
  }
}

function emptyValue(kind: ContainerKind): Json {
  if (kind === "text") return "";
  if (kind === "counter") return 0;
  return kind === "map" ? {} : [];
}

export function isEmpty(value: Json): boolean {
  if (value === "" || value === 0) return true;
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

/** A value of the scalar map as JSON. Numbers stay numbers; integers are exact, and small again if a string held them needlessly. */
export function readScalar(kind: ScalarKind, value: unknown): Json {
  if (kind === "number" && typeof value === "number") return finite(value);
  if (kind === "integer" && typeof value === "string" && /^-?\d+$/.test(value)) return exactInteger(BigInt(value));
  return toJson(value);
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}
