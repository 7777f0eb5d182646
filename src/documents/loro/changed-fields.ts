import type { FieldKinds } from "./fields.js";
import { type Json, sameJson } from "./json.js";
import type { FieldPatch } from "./values.js";

/** What leads from one projection of a document to another. */
export function changedFields(fields: FieldKinds, from: Record<string, Json>, to: Record<string, Json>): FieldPatch[] {
  return Object.entries(fields).flatMap(([name, kind]): FieldPatch[] => {
    const value = to[name] ?? null;
    if (sameJson(from[name], value)) return [];
    // A counter is given what it lacks.
    const delta = Number(value) - Number(from[name] ?? 0);
    return [{ name, kind, value: kind === "counter" && value !== null ? delta : value }];
  });
}
