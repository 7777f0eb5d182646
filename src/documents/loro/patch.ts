import type { LoroDoc } from "loro-crdt";
import { type DocumentSchema, isScalar, mismatch, scalarRoot } from "./fields.js";
import { withHandle } from "./handles.js";
import { describeValue, fitsScalar, scalarExpectations } from "./scalars.js";

export interface PatchLimits {
  depth: number;
  textDiffMs: number;
}

/** Validates the whole patch. Errors: PE422 naming table, field, expected and got. */
export function checkPatch(schema: DocumentSchema, patch: unknown): [string, unknown][] {
  const entries = Object.entries(patch as Record<string, unknown>);
  for (const [name, value] of entries) {
    const kind = schema.fields[name];
    if (kind === undefined || !Object.hasOwn(schema.fields, name))
      throw mismatch(schema, name, "a declared field", describeValue(value));
    if (value === null) continue;
    if (isScalar(kind) && !fitsScalar(kind, value))
      throw mismatch(schema, name, scalarExpectations[kind], describeValue(value));
    if (kind === "text" && typeof value !== "string") throw mismatch(schema, name, "a string", describeValue(value));
  }
  return entries;
}

export function applyPatch(
  doc: LoroDoc,
  schema: DocumentSchema,
  entries: [string, unknown][],
  _limits: PatchLimits,
): void {
  for (const [name, value] of entries) {
    const kind = schema.fields[name];
    if (kind === undefined) continue;
    if (isScalar(kind)) {
      withHandle(doc.getMap(scalarRoot), (map) => {
        if (value === null) {
          if (map.get(name) !== undefined) map.delete(name);
        } else map.set(name, value as string);
      });
    } else if (kind === "text") {
      withHandle(doc.getText(name), (text) => text.update((value as string | null) ?? ""));
    } else throw mismatch(schema, name, "a kind that patches can write", kind);
  }
}
