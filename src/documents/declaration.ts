// Not where the engine's threads would load it: what checks a declaration takes them a quarter of the time in which they start.
import { z } from "zod";
import { PerchError } from "../errors.js";
import { type FieldKind, type FieldKinds, isScalar, scalarRoot } from "./loro/fields.js";
import { containerKinds, scalarKinds } from "./loro/kinds/index.js";

/** What Loro takes as the name of a root container, and what it keeps for itself. */
const fieldName = z
  .string()
  .min(1)
  .max(200)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the character that Loro refuses
  .refine((name) => !/[/\u0000]/.test(name) && !name.startsWith("🤝:"), "no slash, no NUL, no reserved prefix");

const fieldsSchema = z
  .record(fieldName, z.enum(Object.keys({ ...scalarKinds, ...containerKinds }) as FieldKind[]))
  .refine((fields) => fields[scalarRoot] === undefined || isScalar(fields[scalarRoot]), {
    message: `a container field cannot be called ${scalarRoot}`,
  });

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
