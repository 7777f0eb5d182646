import { z } from "zod";
import { PerchError } from "../../errors.js";
import { containerKinds, scalarKinds } from "./kinds/index.js";

export type FieldKind = keyof typeof scalarKinds | keyof typeof containerKinds;
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
  .record(fieldName, z.enum(Object.keys({ ...scalarKinds, ...containerKinds }) as FieldKind[]))
  .refine((fields) => fields[scalarRoot] === undefined || isScalar(fields[scalarRoot]), {
    message: `a container field cannot be called ${scalarRoot}`,
  });

export function isScalar(kind: FieldKind): kind is keyof typeof scalarKinds {
  return kind in scalarKinds;
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
