import { z } from "zod";
import { PerchError } from "../../errors.js";

/** Kinds that live in the root map `fields`, one key each: the last writer of a key wins. */
export const scalarKinds = ["string", "number", "integer", "boolean", "datetime", "json"] as const;
/** Kinds that are a root container of their own, and merge inside. */
export const containerKinds = ["text", "list", "movable_list", "tree", "counter", "map"] as const;

export type ScalarKind = (typeof scalarKinds)[number];
export type ContainerKind = (typeof containerKinds)[number];
export type FieldKind = ScalarKind | ContainerKind;
/** The declared fields of a document table, by name. */
export type FieldKinds = Readonly<Record<string, FieldKind>>;
/** What an engine thread must know of a document's table. The name is for error messages. */
export interface DocumentSchema {
  table: string;
  fields: FieldKinds;
}

/** The root map of the scalars; no container field may take its name. */
export const scalarRoot = "fields";

/** What Loro takes as the name of a root container, and what it keeps for itself. */
const fieldName = z
  .string()
  .min(1)
  .max(200)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the character that Loro refuses
  .refine((name) => !/[/\u0000]/.test(name) && !name.startsWith("🤝:"), "no slash, no NUL, no reserved prefix");

export const fieldsSchema = z
  .record(fieldName, z.enum([...scalarKinds, ...containerKinds]))
  .refine((fields) => fields[scalarRoot] === undefined || isScalar(fields[scalarRoot]), {
    message: `a container field cannot be called ${scalarRoot}`,
  });

export function isScalar(kind: FieldKind): kind is ScalarKind {
  return (scalarKinds as readonly string[]).includes(kind);
}

/** In: a declaration as stored. Out: it, checked. Errors: PE422 naming what is wrong. */
export function parseFields(declaration: unknown): FieldKinds {
  const parsed = fieldsSchema.safeParse(declaration);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new PerchError("PE422", `field declaration: ${issue?.message ?? "malformed"}`, {
    field: issue?.path[0] ?? null,
    reason: issue?.message ?? "malformed",
  });
}

export interface Mismatch {
  table: string;
  /** The field, with the path inside it: `tags[3].name`. */
  field: string;
  expected: string;
  got: string;
}

/** The error of everything that does not fit the declaration. */
export function mismatch(schema: DocumentSchema, field: string, expected: string, got: string): PerchError {
  const detail: Mismatch = { table: schema.table, field, expected, got };
  return new PerchError("PE422", `${schema.table}.${field}: expected ${expected}, got ${got}`, detail);
}
