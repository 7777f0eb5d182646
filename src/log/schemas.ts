import { z } from "zod";

const fields = z.record(z.string(), z.unknown());
const optional = <T extends z.ZodType>(type: T) => type.nullish();

/** Fields by name. JSON.parse gives even `__proto__` as a field like any other: look at names with `Object.hasOwn`. */
export type Fields = Record<string, unknown>;

type Contents<T, Content> = {
  [Key in keyof T]: Key extends "data" | "actor" ? Content | Extract<T[Key], null> : T[Key];
};

/** One change as `push` takes it, the same as in SQL; an absent key and null are the same. */
export const changeSchema = z.strictObject({
  op: z.enum(["insert", "update", "delete"]),
  table: z.string(),
  id: z.string(),
  data: optional(fields),
  /** When each field was written, where that is not `at`. */
  field_meta: optional(z.record(z.string(), z.string())),
  /** When the change was made; now, when not given. */
  at: optional(z.string()),
  /** Makes a repeat harmless: choose it once for a change, and keep it. */
  op_id: optional(z.string()),
  /** The personal space, when not given. */
  space_id: optional(z.string()),
  schema_version: optional(z.int().positive()),
  base_seq: optional(z.int().nonnegative()),
  /** Of a document table: the revision that came with `base_seq`. */
  base_revision: optional(z.int().nonnegative()),
  actor: optional(fields),
  origin: optional(z.string()),
});
export type Change = z.infer<typeof changeSchema>;

/** A function of the app's that a push calls (`perch.register_mutator`), in the push's transaction. */
const callSchema = z.strictObject({
  op: z.literal("call"),
  name: z.string(),
  args: optional(fields),
  op_id: optional(z.string()),
});
export type Call = z.infer<typeof callSchema>;

export const changeOrCallSchema = z.discriminatedUnion("op", [changeSchema, callSchema]);

export const pushResultSchema = z.object({
  op_id: z.string().nullable(),
  status: z.enum(["applied", "replayed", "rejected"]),
  space_id: z.string().nullable(),
  /** The change's number in the log of its space (of a document table: the document's position). */
  seq: z.number().nullable(),
  /** Of a document table: what identifies that position, for `base_revision` of a later change. */
  revision: z.number().nullish(),
  /** Where there is no number yet, and of a call: the transaction, which the changes have when they are pulled. */
  txid: z.string().optional(),
  /** Of a call: what the function returned. */
  result: z.unknown().optional(),
  /** Why it was rejected, and what to do. */
  error: z
    .object({ code: z.string(), message: z.string(), detail: z.unknown(), hint: z.string().optional() })
    .optional(),
});
export type PushResult = z.infer<typeof pushResultSchema>;

export const pushAnswerSchema = z.object({ results: z.array(pushResultSchema) });

/** Says where a reader is. Opaque: keep it as JSON and pass it back as it came; `{}` is the beginning. */
export const cursorSchema = fields;
export type Cursor = z.infer<typeof cursorSchema>;

/** Why a change or record comes without its content: it is longer than an answer may be, or an upgrade cannot lift it. */
const withheldSchema = z.object({
  reason: z.enum(["too_large", "upgrade_failed"]),
  bytes: z.number().optional(),
  max: z.number().optional(),
});

/** How many are withheld on this page; absent when none is. */
const withheldCountsSchema = z.object({ too_large: z.number(), upgrade_failed: z.number() }).optional();

export const pulledChangeSchema = z.object({
  space_id: z.string(),
  seq: z.number(),
  op: z.enum(["insert", "update", "delete"]),
  table: z.string(),
  id: z.string(),
  data: fields.nullable(),
  field_meta: z.record(z.string(), z.string()),
  at: z.string(),
  deleted_at: z.string().nullable(),
  /** Null where nobody was named, as by plain SQL on a synced table. */
  user_id: z.string().nullable(),
  client_id: z.string().nullable(),
  op_id: z.string().nullable(),
  /** The transaction that made it, whose changes in a space come on one page; null: from before that was noted. */
  txid: z.string().nullable(),
  schema_version: z.number(),
  actor: fields.nullable(),
  origin: z.string().nullable(),
  created_at: z.string(),
  withheld: withheldSchema.optional(),
});
/** `Content` is what the users' own JSON is read as. */
export type PulledChange<Content = Fields> = Contents<z.infer<typeof pulledChangeSchema>, Content>;

export const pullAnswerSchema = z.object({
  changes: z.array(pulledChangeSchema),
  cursor: cursorSchema,
  has_more: z.boolean(),
  /** Spaces the cursor knew and that this user may no longer read. */
  revoked_space_ids: z.array(z.string()),
  /** The transaction of the last change here goes on with the next page: it is larger than a page may be. */
  unfinished: z.object({ space_id: z.string(), txid: z.string() }).optional(),
  withheld: withheldCountsSchema,
});
export type PullAnswer<Content = Fields> = Omit<z.infer<typeof pullAnswerSchema>, "changes"> & {
  changes: PulledChange<Content>[];
};

export const snapshotRecordSchema = z.object({
  table: z.string(),
  id: z.string(),
  /** Null only when it is withheld. */
  data: fields.nullable(),
  field_meta: z.record(z.string(), z.string()),
  seq: z.number(),
  inserted_at: z.string().nullable(),
  deleted_at: z.string().nullable(),
  schema_version: z.number(),
  withheld: withheldSchema.optional(),
});
export type SnapshotRecord<Content = Fields> = Contents<z.infer<typeof snapshotRecordSchema>, Content>;

export const snapshotAnswerSchema = z.object({
  records: z.array(snapshotRecordSchema),
  cursor: cursorSchema,
  /** What to pass as `after` for the next page; null after the last. */
  next: z.string().nullable(),
  withheld: withheldCountsSchema,
});
export type SnapshotAnswer<Content = Fields> = Omit<z.infer<typeof snapshotAnswerSchema>, "records"> & {
  records: SnapshotRecord<Content>[];
};

export const loggedChangeSchema = pulledChangeSchema.extend({ app_id: z.string() });
/** A change as a service reads it, which reads several apps. */
export type LoggedChange<Content = Fields> = Contents<z.infer<typeof loggedChangeSchema>, Content>;

export const logAnswerSchema = z.object({
  changes: z.array(loggedChangeSchema),
  cursor: cursorSchema,
  has_more: z.boolean(),
});
export type LogAnswer<Content = Fields> = Omit<z.infer<typeof logAnswerSchema>, "changes"> & {
  changes: LoggedChange<Content>[];
};

export const logSnapshotAnswerSchema = z.object({
  /** Of which space and app these are; null where there are none. */
  space_id: z.string().nullable(),
  app_id: z.string().nullable(),
  records: z.array(snapshotRecordSchema),
  cursor: cursorSchema,
  /** What to pass as `after` for the next page; null after the last. */
  next: z.string().nullable(),
});
export type LogSnapshotAnswer<Content = Fields> = Omit<z.infer<typeof logSnapshotAnswerSchema>, "records"> & {
  records: SnapshotRecord<Content>[];
};

export const lostSpaceSchema = z.object({
  space_id: z.string(),
  reason: z.enum(["expired", "ahead", "epoch"]),
  /** Of a synced table with rules: what is no longer as it was when the cursor was made, its rules or the reader's role in this space. */
  cause: z.enum(["rules", "role"]).optional(),
  oldest_seq: z.number(),
  latest_seq: z.number(),
});
/** A space in which the log does not go on from a cursor, as in the detail of PE410. */
export type LostSpace = z.infer<typeof lostSpaceSchema>;
