import { PerchError } from "../../errors.js";
import { weigh } from "./checks/weigh.js";
import { type DocumentSchema, type FieldKind, isScalar } from "./fields.js";
import { exactDigits, exactInteger, isPlainObject, type Json } from "./json.js";
import { containerKinds, scalarKinds } from "./kinds/index.js";
import type { DocumentLimits } from "./limits.js";
import { describeValue, mismatch, tooLarge } from "./refusals.js";

export type PatchLimits = Pick<DocumentLimits, "depth" | "valueNodes">;

/** One field of a patch, checked and in the form in which it is written. */
export interface FieldPatch {
  name: string;
  kind: FieldKind;
  value: Json;
}

/**
 * Checks a whole patch against the declaration; nothing is applied before this has passed.
 * Out: what to write. Errors: PE422 naming table, field, expected and got; PE413 when a value is nested too deep or has too many nodes.
 */
export function checkPatch(schema: DocumentSchema, patch: unknown, limits: PatchLimits): FieldPatch[] {
  if (!isPlainObject(patch)) {
    const got = describeValue(patch);
    throw new PerchError("PE422", `${schema.table}: expected a JSON object as patch, got ${got}`, {
      table: schema.table,
      field: null,
      expected: "a JSON object as patch",
      got,
    });
  }
  const given = Object.entries(patch).filter(([, value]) => value !== undefined);
  return given.map(([name, value]) => {
    const kind = Object.hasOwn(schema.fields, name) ? schema.fields[name] : undefined;
    if (kind === undefined) throw mismatch(schema, name, "a declared field", describeValue(value));
    return { name, kind, value: checkValue(schema, name, kind, value, limits) };
  });
}

function checkValue(schema: DocumentSchema, field: string, kind: FieldKind, value: unknown, limits: PatchLimits): Json {
  if (value === null) return null;
  const { expected, accept } = isScalar(kind) ? scalarKinds[kind] : containerKinds[kind];
  const accepted = accept(value, {
    schema,
    field,
    maxDepth: limits.depth,
    json(input) {
      // Of a container each item is a value.
      for (const one of isScalar(kind) ? [input] : Object.values(input as object)) {
        const { nodes } = weigh(one, limits.valueNodes, limits.depth + 1);
        if (nodes > limits.valueNodes)
          throw tooLarge("value_nodes", limits.valueNodes, nodes, { table: schema.table, field });
      }
      return checkJson({ schema, maxDepth: limits.depth }, field, input, 0);
    },
  });
  if (accepted === undefined) throw mismatch(schema, field, expected, describeValue(value));
  return accepted;
}

interface Bounds {
  schema: DocumentSchema;
  maxDepth: number;
}

/** A copy that is JSON and nothing else. Properties that are undefined are absent, as JSON.stringify has it. */
function checkJson(bounds: Bounds, path: string, value: unknown, depth: number): Json {
  const { schema, maxDepth } = bounds;
  if (depth > maxDepth) {
    throw new PerchError("PE413", `${schema.table}.${path.slice(0, 200)} is nested deeper than ${maxDepth}`, {
      limit: "depth",
      max: maxDepth,
      table: schema.table,
      field: path.slice(0, 200),
    });
  }
  if (value === null || typeof value === "boolean") return value;
  const digits = exactDigits(value);
  if (digits !== undefined) return exactInteger(digits);
  if (typeof value === "number" && Number.isFinite(value)) return exactInteger(value);
  if (typeof value === "string") {
    // Loro takes such a string for a reference to a container, and refuses it.
    if (value.startsWith("🦜:cid:"))
      throw mismatch(schema, path, "a string that is no container id", describeValue(value));
    return value;
  }
  if (Array.isArray(value))
    return value.map((item, index) => checkJson(bounds, `${path}[${index}]`, item ?? null, depth + 1));
  if (!isPlainObject(value)) throw mismatch(schema, path, "a JSON value", describeValue(value));
  if (Object.hasOwn(value, "__proto__")) throw mismatch(schema, path, "keys other than __proto__", "the key __proto__");
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .map(([key, item]) => [key, checkJson(bounds, `${path}.${key}`, item, depth + 1)]),
  );
}
