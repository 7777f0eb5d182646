import type { LoroDoc } from "loro-crdt";
import { type ContainerKind, isScalar, scalarRoot } from "./fields.js";
import { withHandle } from "./handles.js";
import { type Json, sameJson } from "./json.js";
import { rootId } from "./layout.js";
import { isEmpty, readScalar, touchedRoots } from "./projection.js";
import { type ReconcileOptions, reconcileList, reconcileMap, reconcileMovableList } from "./reconcile.js";
import { reconcileText } from "./text.js";
import { reconcileTree } from "./tree.js";
import { treeInput } from "./tree-input.js";
import type { FieldPatch } from "./values.js";

/**
 * Writes a checked patch into the document at the version it is checked out to, as uncommitted operations: none for what is so already.
 *
 * An empty container is null or the empty value by what the scalar map holds under the field's name: null after it was cleared with
 * null, true after it was given the empty value before any operation had touched it, nothing otherwise.
 */
export function applyPatch(doc: LoroDoc, patch: readonly FieldPatch[], options: ReconcileOptions): void {
  for (const { name, kind, value } of patch) {
    if (isScalar(kind)) {
      withHandle(doc.getMap(scalarRoot), (scalars) => {
        const current: unknown = scalars.get(name);
        if (sameJson(readScalar(kind, current), value)) return;
        if (value === null) scalars.delete(name);
        else scalars.set(name, value);
      });
    } else if (value === null) {
      clearContainer(doc, name, kind, options);
    } else {
      writeContainer(doc, name, kind, value, options);
    }
  }
}

function clearContainer(doc: LoroDoc, name: string, kind: ContainerKind, options: ReconcileOptions): void {
  const touched = touchedRoots(doc).has(rootId(name, kind));
  withHandle(doc.getMap(scalarRoot), (scalars) => {
    const mark: unknown = scalars.get(name);
    if (touched) {
      if (kind === "counter") {
        withHandle(doc.getCounter(name), (counter) => {
          const value = counter.getShallowValue();
          if (value !== 0) counter.decrement(value);
        });
      } else reconcileContainer(doc, name, kind, emptyValues[kind], options);
      if (mark !== null) scalars.set(name, null);
    } else if (mark !== undefined && mark !== null) {
      scalars.delete(name);
    }
  });
}

function writeContainer(doc: LoroDoc, name: string, kind: ContainerKind, value: Json, options: ReconcileOptions): void {
  if (kind === "counter") {
    const touched = value !== 0 || touchedRoots(doc).has(rootId(name, kind));
    if (value !== 0) withHandle(doc.getCounter(name), (counter) => counter.increment(value as number));
    markPresent(doc, name, touched);
    return;
  }
  const touched = !isEmpty(value) || touchedRoots(doc).has(rootId(name, kind));
  if (touched) reconcileContainer(doc, name, kind, value, options);
  markPresent(doc, name, touched);
}

/** From now on an empty container is the empty value. */
function markPresent(doc: LoroDoc, name: string, touched: boolean): void {
  withHandle(doc.getMap(scalarRoot), (scalars) => {
    const mark: unknown = scalars.get(name);
    if (touched && mark === null) scalars.delete(name);
    if (!touched && (mark === undefined || mark === null)) scalars.set(name, true);
  });
}

const emptyValues = { text: "", list: [], movable_list: [], tree: [], map: {} } as const satisfies Partial<
  Record<ContainerKind, unknown>
>;

function reconcileContainer(
  doc: LoroDoc,
  name: string,
  kind: Exclude<ContainerKind, "counter">,
  value: Json | (typeof emptyValues)[keyof typeof emptyValues],
  options: ReconcileOptions,
): void {
  switch (kind) {
    case "text":
      withHandle(doc.getText(name), (text) => reconcileText(text, value as string, options.textDiffMs));
      break;
    case "list":
      withHandle(doc.getList(name), (list) => reconcileList(list, value as Json[], options));
      break;
    case "movable_list":
      withHandle(doc.getMovableList(name), (list) => reconcileMovableList(list, value as Json[], options));
      break;
    case "map":
      withHandle(doc.getMap(name), (map) => reconcileMap(map, value as { [key: string]: Json }, options));
      break;
    case "tree":
      withHandle(doc.getTree(name), (tree) => reconcileTree(tree, treeInput(value as Json[]), options));
      break;
  }
}
