import { z } from "zod";
import type { Queryable } from "../database/types.js";
import {
  type Call,
  type Change,
  type Cursor,
  changeOrCallSchema,
  type Fields,
  type PullAnswer,
  type PushResult,
  pullAnswerSchema,
  pushAnswerSchema,
  type SnapshotAnswer,
  snapshotAnswerSchema,
} from "./schemas.js";

export interface PushOptions {
  appId: string;
  changes: readonly (Change | Call)[];
  /** Names the device: decides between writes of the same instant, and lets `pull` leave its own changes out. */
  clientId?: string | null | undefined;
  /** All changes apply or none. Those at fault have their errors then, and the others PE409 with the reason `aborted`. */
  atomic?: boolean | undefined;
}

/** Calls an SQL function that answers with one value. In: `call`: of a few that are always the same. */
async function answer(db: Queryable, call: string, params: readonly unknown[]): Promise<unknown> {
  const [row] = await db.query<{ answer: unknown }>(`select ${call} as answer`, params, { prepare: true });
  return row?.answer;
}

// Escapes that JSON has and jsonb refuses: NUL, and half of a surrogate pair (a whole one is not escaped).
const unstorable = /(?:^|[^\\])(?:\\\\)*\\u(?:0000|d[89a-f])/;

const textOf = (value: unknown): string | null => (typeof value === "string" ? value : null);

function rejected(change: unknown, message: string, detail: unknown): PushResult {
  const { op_id, space_id } = (change ?? {}) as { op_id?: unknown; space_id?: unknown };
  const error = { code: "PE422", message: `invalid: ${message}`, detail };
  return { op_id: textOf(op_id), status: "rejected", space_id: textOf(space_id), seq: null, error };
}

/** Of an atomic push, one change of which (at) the database could not be asked about: what perch.push says of the others. */
function aborted(changes: readonly (Change | Call)[], nth: number, at: number): PushResult {
  const { op_id, space_id } = changes[nth] as { op_id?: unknown; space_id?: unknown };
  const detail = { reason: "aborted", at, op_id: textOf(changes[at]?.op_id) };
  const error = {
    code: "PE409",
    message: "conflict: aborted, since another change of this atomic push was rejected",
    detail,
  };
  return { op_id: textOf(op_id), status: "rejected", space_id: textOf(space_id), seq: null, error };
}

/** What the database could not even be asked about: values that JSON or jsonb cannot hold. The rest is for the database to judge. */
function encode(change: Change | Call): { text: string } | { refused: PushResult } {
  const { error } = changeOrCallSchema.safeParse(change);
  if (error) {
    const [issue] = error.issues;
    const argument = issue?.path.join(".") ?? "";
    return { refused: rejected(change, z.prettifyError(error), { argument, message: issue?.message }) };
  }
  try {
    const text = JSON.stringify(change);
    if (!unstorable.test(text)) return { text };
  } catch (failure) {
    return { refused: rejected(change, `the change is not JSON: ${(failure as Error).message}`, null) };
  }
  return { refused: rejected(change, "the change holds text that cannot be stored: NUL or half a character", null) };
}

/**
 * Appends changes to the log, as the user of the transaction (see `withContext`).
 * Out: one result for each change, in order; a bad change is rejected alone and the others apply, but for an atomic push.
 * Errors: PE401, PE413 (too many changes), PE422 (app or client id).
 */
export async function push(db: Queryable, options: PushOptions): Promise<{ results: PushResult[] }> {
  const encoded = options.changes.map(encode);
  const texts = encoded.flatMap((each) => ("text" in each ? [each.text] : []));
  const at = encoded.findIndex((each) => "refused" in each);
  if (options.atomic && at >= 0) {
    return {
      results: encoded.map((each, nth) => ("refused" in each ? each.refused : aborted(options.changes, nth, at))),
    };
  }
  const pushed = pushAnswerSchema.parse(
    await answer(db, "perch.push(app_id => $1, changes => $2::jsonb, client_id => $3, atomic => $4)", [
      options.appId,
      `[${texts.join(",")}]`,
      options.clientId ?? null,
      options.atomic ?? false,
    ]),
  );
  let nth = 0;
  const results = encoded.map((each) => ("refused" in each ? each.refused : (pushed.results[nth++] as PushResult)));
  return { results };
}

export interface ContentOptions<Content> {
  /**
   * Reads the users' own JSON (`data` and `actor`), of which it is given the text. JSON.parse, when not given, which rounds numbers
   * that no double is equal to: give a parser that keeps them, or `(text) => text` to have the text.
   */
  parse?: ((json: string) => Content) | undefined;
}

const contents = ["data", "actor"] as const;

/**
 * Calls a function whose answer has a list of changes or records. The answer is checked and passed on itself, since the copy that a
 * schema makes lacks a field named `__proto__`.
 */
export async function answerOf<T>(
  db: Queryable,
  call: string,
  params: readonly unknown[],
  list: "changes" | "records",
  schema: z.ZodType,
  parse: ((json: string) => unknown) | undefined,
): Promise<T> {
  const text = parse === undefined ? call : `perch.contents_as_text(answer => ${call}, list => '${list}')`;
  const value = JSON.parse(String(await answer(db, text, params))) as { [key: string]: Record<string, unknown>[] };
  const texts: [Record<string, unknown>, (typeof contents)[number], string][] = [];
  for (const item of parse === undefined ? [] : (value[list] ?? [])) {
    for (const key of contents) {
      if (typeof item[key] !== "string") continue;
      texts.push([item, key, item[key]]);
      item[key] = {};
    }
  }
  schema.parse(value);
  for (const [item, key, json] of texts) item[key] = parse?.(json);
  return value as T;
}

/** Of tables the fields that a reader wants; of those that are not named all. */
export type WantedFields = Readonly<Record<string, readonly string[]>>;

/** Of a table the version that the reader knows: older content is lifted to it. */
export type SchemaVersions = Readonly<Record<string, number>>;

export const jsonOrNull = (value: unknown) => (value === undefined ? null : JSON.stringify(value));

export interface PullOptions {
  appId: string;
  /** Where to go on: the cursor of the last answer; the beginning when not given. */
  cursor?: Cursor | undefined;
  pageSize?: number | undefined;
  /** Only these tables. A cursor belongs to the tables it was made with. */
  tables?: readonly string[] | undefined;
  /** Leaves out what this device pushed, once the cursor has first come to the end of the log. */
  excludeClientId?: string | undefined;
  schemaVersions?: SchemaVersions | undefined;
  /** `{ pages: ["title"] }`: of these tables no other fields. The cursor is that of all: whoever wants more takes a snapshot. */
  fields?: WantedFields | undefined;
}

/**
 * The changes after a cursor in all spaces that the user of the transaction may read. Pull again while `has_more`.
 * Errors: PE401; PE410, whose detail names the spaces that need `snapshotRecords`; PE422 for a cursor of something else.
 */
export function pull<Content = Fields>(
  db: Queryable,
  options: PullOptions & ContentOptions<Content>,
): Promise<PullAnswer<Content>> {
  const call = `perch.pull_text(app_id => $1, cursor => $2::jsonb, page_size => $3, tables => $4::text[], exclude_client_id => $5,
                     schema_versions => $6::jsonb, fields => $7::jsonb)`;
  const params = [
    options.appId,
    JSON.stringify(options.cursor ?? {}),
    options.pageSize ?? 1000,
    options.tables ?? null,
    options.excludeClientId ?? null,
    jsonOrNull(options.schemaVersions),
    jsonOrNull(options.fields),
  ];
  return answerOf(db, call, params, "changes", pullAnswerSchema, options.parse);
}

export interface SnapshotOptions {
  appId: string;
  /** The personal space, when not given. */
  spaceId?: string | null | undefined;
  /** `next` of the page before; the first page when not given. */
  after?: string | null | undefined;
  pageSize?: number | undefined;
  /** The cursor that could not go on (PE410): the answer's cursor then also keeps its positions in other spaces. */
  cursor?: Cursor | undefined;
  /** Only these tables, as in `pull`. */
  tables?: readonly string[] | undefined;
  schemaVersions?: SchemaVersions | undefined;
  /** Of these tables no other fields, as in `pull`. */
  fields?: WantedFields | undefined;
}

/**
 * A page of the live records of a space, and a cursor from which pulling misses nothing: go on until `next` is null.
 * Errors: PE401, PE403, PE410 (a restore came between two pages: begin again), PE422.
 */
export function snapshotRecords<Content = Fields>(
  db: Queryable,
  options: SnapshotOptions & ContentOptions<Content>,
): Promise<SnapshotAnswer<Content>> {
  const call = `perch.snapshot_text(app_id => $1, space_id => $2, after => $3, page_size => $4, cursor => $5::jsonb,
                     tables => $6::text[], schema_versions => $7::jsonb, fields => $8::jsonb)`;
  const params = [
    options.appId,
    options.spaceId ?? null,
    options.after ?? null,
    options.pageSize ?? 1000,
    jsonOrNull(options.cursor),
    options.tables ?? null,
    jsonOrNull(options.schemaVersions),
    jsonOrNull(options.fields),
  ];
  return answerOf(db, call, params, "records", snapshotAnswerSchema, options.parse);
}
