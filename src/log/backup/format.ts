import { createHash } from "node:crypto";
import { z } from "zod";
import { pulledChangeSchema } from "../schemas.js";

/**
 * The file of an export: JSON lines, compressed with gzip. The first line is the header, the last the manifest, with the SHA-256 of
 * every byte before it. In between, in any order: the declarations of document tables, records, changes, and Loro updates.
 */
export const formatVersion = 1;

const text = z.string();
const place = { app_id: text, space_id: text, table: text, id: text };

const headerSchema = z.object({
  kind: z.literal("perch-export"),
  format: z.int().positive(),
  /** The version of perch that wrote it. */
  perch: text,
  user_id: text,
  /** The log it was read from: with it, a change is known by its space and number. */
  epoch: text,
  exported_at: text,
});
export type Header = z.infer<typeof headerSchema>;

const documentTableSchema = z.object({
  kind: z.literal("document_table"),
  app_id: text,
  table: text,
  fields: z.record(text, text),
});

const { op, data, field_meta, client_id, schema_version, actor, origin } = pulledChangeSchema.shape;
const changeLineSchema = z.object({
  kind: z.literal("change"),
  ...place,
  seq: z.number(),
  at: text,
  op,
  data,
  field_meta,
  client_id,
  schema_version,
  actor,
  origin,
});
export type ChangeLine = z.infer<typeof changeLineSchema>;

/** The merged state of a record whose changes are no longer all in the log. */
const recordLineSchema = z.object({
  kind: z.literal("record"),
  ...place,
  data: z.record(text, z.unknown()),
  field_meta: z.record(text, text),
  /** When and by whom the fields were written that field_meta does not name. */
  written_at: text.nullable(),
  written_by: text.nullable(),
  inserted_at: text.nullable(),
  deleted_at: text.nullable(),
  schema_version: z.number(),
});
export type RecordLine = z.infer<typeof recordLineSchema>;

/** One of the Loro snapshots and updates that a document is made of. */
const updateLineSchema = z.object({
  kind: z.literal("update"),
  ...place,
  part: z.int().positive(),
  parts: z.int().positive(),
  payload: z.base64(),
});
export type UpdateLine = z.infer<typeof updateLineSchema>;

export const countsSchema = z.object({
  document_tables: z.int(),
  records: z.int(),
  changes: z.int(),
  documents: z.int(),
  updates: z.int(),
});
export type LineCounts = z.infer<typeof countsSchema>;

const manifestSchema = z.object({
  kind: z.literal("manifest"),
  format: z.int().positive(),
  counts: countsSchema,
  /** Of each table the newest schema_version that occurs. */
  schema_versions: z.array(z.object({ app_id: text, table: text, schema_version: z.number() })),
  sha256: text,
});
export type Manifest = z.infer<typeof manifestSchema>;

const lineSchema = z.discriminatedUnion("kind", [
  headerSchema,
  documentTableSchema,
  changeLineSchema,
  recordLineSchema,
  updateLineSchema,
  manifestSchema,
]);
export type Line = z.infer<typeof lineSchema>;

/** In: a line's text. Throws when it is not one of this format. */
export function parseLine(line: string): Line {
  const json: unknown = JSON.parse(line);
  const { kind, format } = (json ?? {}) as { kind?: unknown; format?: unknown };
  // Before anything else: a newer format may look different in everything but this.
  if ((kind === "perch-export" || kind === "manifest") && typeof format === "number" && format > formatVersion) {
    throw new NewerFormatError(format);
  }
  const parsed = lineSchema.safeParse(json);
  if (!parsed.success) throw new Error(z.prettifyError(parsed.error));
  return parsed.data;
}

export class NewerFormatError extends Error {
  constructor(format: number) {
    super(`the file has format ${format}, this version of perch reads up to ${formatVersion}; upgrade perch`);
  }
}

export const noCounts = (): LineCounts => ({ document_tables: 0, records: 0, changes: 0, documents: 0, updates: 0 });

/** Counts lines the same way when writing and when verifying. */
export function count(counts: LineCounts, line: { kind: string; part?: number }): void {
  if (line.kind === "document_table") counts.document_tables += 1;
  else if (line.kind === "record") counts.records += 1;
  else if (line.kind === "change") counts.changes += 1;
  else if (line.kind === "update") {
    counts.updates += 1;
    if (line.part === 1) counts.documents += 1;
  }
}

/** The hash in the manifest: of the lines before it, each with its line feed. */
export const createDigest = () => createHash("sha256");
