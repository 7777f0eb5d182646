import { type FieldKinds, isScalar } from "./fields.js";
import { type Json, sameJson } from "./json.js";
import { containerKinds } from "./kinds/index.js";
import type { FieldPatch } from "./values.js";

/** What leads from one projection of a document to another. */
export function changedFields(fields: FieldKinds, from: Record<string, Json>, to: Record<string, Json>): FieldPatch[] {
  return Object.entries(fields).flatMap(([name, kind]): FieldPatch[] => {
    const [before, value] = [from[name] ?? null, to[name] ?? null];
    if (sameJson(from[name], value)) return [];
    const difference = isScalar(kind) || value === null ? undefined : containerKinds[kind].difference;
    return [{ name, kind, value: difference === undefined ? value : difference(before, value) }];
  });
}
