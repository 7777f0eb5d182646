import { z } from "zod";
import { withContext } from "../context/index.js";
import type { Database } from "../database/types.js";
import { PerchError } from "../errors.js";
import type { Identity } from "./tokens.js";

/** The body is the argument $1, as text: what JavaScript would round, the database reads exactly. */
const text = (name: string) => `$1::jsonb ->> '${name}'`;
const json = (name: string) => `$1::jsonb -> '${name}'`;
const integer = (name: string) => `($1::jsonb ->> '${name}')::int`;
const texts = (name: string) => `array(select jsonb_array_elements_text($1::jsonb -> '${name}'))`;

const cursor = z.record(z.string(), z.unknown()).nullish();
const tables = z.array(z.string()).nullish();
const schemaVersions = z.record(z.string(), z.unknown()).nullish();
const pageSize = z.int().min(1).max(2_147_483_647).nullish();

/**
 * The SQL functions that are reached by HTTP: the shape of the body, how each argument is read from it, and which of them have no
 * default in SQL, so that they are passed even when they are null.
 */
const calls = {
  push: {
    sql: "perch.push",
    body: z.strictObject({
      app_id: z.string(),
      changes: z.array(z.unknown()),
      client_id: z.string().nullish(),
    }),
    arguments: { app_id: text, changes: json, client_id: text },
    passed: ["client_id"],
  },
  pull: {
    sql: "perch.pull",
    body: z.strictObject({
      app_id: z.string(),
      cursor,
      page_size: pageSize,
      tables,
      exclude_client_id: z.string().nullish(),
      schema_versions: schemaVersions,
    }),
    arguments: {
      app_id: text,
      cursor: json,
      page_size: integer,
      tables: texts,
      exclude_client_id: text,
      schema_versions: json,
    },
    passed: [],
  },
  snapshot: {
    sql: "perch.snapshot_records",
    body: z.strictObject({
      app_id: z.string(),
      space_id: z.string().nullish(),
      after: z.string().nullish(),
      page_size: pageSize,
      cursor,
      tables,
      schema_versions: schemaVersions,
    }),
    arguments: {
      app_id: text,
      space_id: text,
      after: text,
      page_size: integer,
      cursor: json,
      tables: texts,
      schema_versions: json,
    },
    passed: [],
  },
} as const;

export type CallName = keyof typeof calls;

export function isCallName(name: string): name is CallName {
  return Object.hasOwn(calls, name);
}

/**
 * Calls a SQL function on a user's behalf, in one transaction.
 * In: the body of the request: the function's arguments by name, as JSON; an absent or null one takes its default. Out: what the
 * function returned, as JSON text. Errors: PE422 when the body is of another shape; what the function raises.
 */
export async function call(db: Database, name: CallName, body: string, identity: Identity): Promise<string> {
  const { sql, body: shape, arguments: readers, passed } = calls[name];
  const given = checked(shape, body);
  const isPassed = (argument: string) =>
    (given[argument] ?? null) !== null || (passed as readonly string[]).includes(argument);
  const named = Object.entries(readers)
    .filter(([argument]) => isPassed(argument))
    .map(([argument, read]) => `${argument} => ${read(argument)}`);
  return withContext(db, identity, async (tx) => {
    const [row] = await tx.query<{ result: string }>(`select ${sql}(${named.join(", ")})::text as result`, [body]);
    return row?.result ?? "null";
  });
}

function checked(shape: z.ZodType<Record<string, unknown>>, body: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    throw new PerchError("PE422", "the body is not JSON");
  }
  const { data, error } = shape.safeParse(value);
  if (data !== undefined) return data;
  const issues = error.issues.map(({ path, message }) => ({ at: path.join("."), message }));
  throw new PerchError("PE422", `the body is malformed: ${issues[0]?.at || "body"}: ${issues[0]?.message}`, { issues });
}
