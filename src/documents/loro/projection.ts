import { isContainer, type LoroDoc } from "loro-crdt";
import { type FieldKind, type Fields, isScalar, scalarRoot } from "./fields.js";
import { withHandle } from "./handles.js";
import { rootId } from "./layout.js";
import { readTree } from "./tree.js";

/**
 * The plain JSON of a document: every declared field, in the order of declaration.
 *
 * A container field that no operation ever touched is null, and so is one that was cleared with null and is still empty (the scalar
 * map then holds null under its name); one that was emptied otherwise is the empty value. Integers beyond 2^53 are decimal strings.
 */
export function project(doc: LoroDoc, fields: Fields): Record<string, unknown> {
  const touched = touchedRoots(doc);
  const data: Record<string, unknown> = {};
  withHandle(doc.getMap(scalarRoot), (scalars) => {
    for (const [name, kind] of Object.entries(fields)) {
      if (isScalar(kind)) {
        data[name] = scalarToJson(kind, plain(scalars.get(name)));
      } else if (!touched.has(rootId(name, kind))) {
        data[name] = null;
      } else {
        const value = containerToJson(doc, name, kind);
        data[name] = isEmpty(value) && scalars.get(name) === null ? null : value;
      }
    }
  });
  return data;
}

/**
 * The root containers that operations (or a handle) have touched. Merely asking a document for a container makes it appear here,
 * so nothing in these modules takes a handle of a container that is neither here nor about to be written.
 */
export function touchedRoots(doc: LoroDoc): Set<string> {
  return new Set(Object.values(doc.getShallowValue()));
}

export function containerToJson(doc: LoroDoc, name: string, kind: Exclude<FieldKind, "string">): unknown {
  switch (kind) {
    case "text":
      return withHandle(doc.getText(name), (text) => storable(text.toString()));
    case "counter":
      return withHandle(doc.getCounter(name), (counter) => counter.getShallowValue());
    case "tree":
      return withHandle(doc.getTree(name), (tree) => plain(readTree(tree).map((node) => node.json)));
    case "list":
      return withHandle(doc.getList(name), (list) => plain(list.toJSON()));
    case "movable_list":
      return withHandle(doc.getMovableList(name), (list) => plain(list.toJSON()));
    case "map":
      return withHandle(doc.getMap(name), (map) => plain(map.toJSON()));
    default:
      throw new TypeError(`${kind} is no container`);
  }
}

function isEmpty(value: unknown): boolean {
  if (value === "" || value === 0) return true;
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

function scalarToJson(kind: FieldKind, value: unknown): unknown {
  if (kind !== "integer") return value;
  return exactInteger(value);
}

/** Beyond 2^53 an integer is a decimal string, whichever way it was written. */
export function exactInteger(value: unknown): unknown {
  if (typeof value === "number" && Number.isInteger(value)) {
    return Number.isSafeInteger(value) ? value : BigInt(value).toString();
  }
  if (typeof value === "string" && /^-?\d+$/.test(value)) {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : BigInt(value).toString();
  }
  return value;
}

/**
 * A value out of Loro as JSON that Postgres stores: nothing undefined, no number that JSON lacks (null), bytes as a list of
 * numbers (as Loro itself writes them in JSON), a nested container as its value.
 */
export function plain(value: unknown): unknown {
  if (typeof value === "string") return storable(value);
  if (typeof value === "number") return Number.isFinite(value) ? value : null;
  if (value === undefined || value === null) return null;
  if (typeof value !== "object") return value;
  if (value instanceof Uint8Array) return [...value];
  if (Array.isArray(value)) return value.map(plain);
  if (isContainer(value)) return plain(value.toJSON());
  const object: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    Object.defineProperty(object, storable(key), {
      value: plain(item),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return object;
}

/** jsonb cannot hold U+0000: one such character, typed by whoever, would make a document impossible to project. */
function storable(text: string): string {
  return text.includes("\0") ? text.replaceAll("\0", "\ufffd") : text;
}
