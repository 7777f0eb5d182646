import { type containerKinds, scalarKinds } from "./kinds/index.js";

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

export function isScalar(kind: FieldKind): kind is keyof typeof scalarKinds {
  return kind in scalarKinds;
}
