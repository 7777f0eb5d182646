import type { LoroDoc } from "loro-crdt";
import { isScalar, scalarRoot } from "./fields.js";
import { withHandle } from "./handles.js";
import { type Json, sameJson } from "./json.js";
import { containerKinds, scalarKinds } from "./kinds/index.js";
import { rootId } from "./layout.js";
import { isEmpty, touchedRoots } from "./projection.js";
import type { ReconcileOptions } from "./reconcile.js";
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
        if (sameJson(scalarKinds[kind].read(current), value)) return;
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

type ContainerName = keyof typeof containerKinds;

function clearContainer(doc: LoroDoc, name: string, kind: ContainerName, options: ReconcileOptions): void {
  const touched = touchedRoots(doc).has(rootId(name, kind));
  const { clear, write, empty } = containerKinds[kind];
  withHandle(doc.getMap(scalarRoot), (scalars) => {
    const mark: unknown = scalars.get(name);
    if (touched) {
      if (clear) clear(doc, name);
      else write(doc, name, empty, options);
      if (mark !== null) scalars.set(name, null);
    } else if (mark !== undefined && mark !== null) {
      scalars.delete(name);
    }
  });
}

function writeContainer(doc: LoroDoc, name: string, kind: ContainerName, value: Json, options: ReconcileOptions): void {
  const touched = !isEmpty(value) || touchedRoots(doc).has(rootId(name, kind));
  if (touched) containerKinds[kind].write(doc, name, value, options);
  // From now on an empty container is the empty value.
  withHandle(doc.getMap(scalarRoot), (scalars) => {
    const mark: unknown = scalars.get(name);
    if (touched && mark === null) scalars.delete(name);
    if (!touched && (mark === undefined || mark === null)) scalars.set(name, true);
  });
}
