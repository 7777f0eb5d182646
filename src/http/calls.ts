import { z } from "zod";
import { meaningOf } from "../database/errors.js";
import type { Transaction } from "../database/types.js";
import { PerchError } from "../errors.js";
import type { Identity } from "../identity/identity.js";
import { isSuspicious, pushReadable, refuseUnreadable } from "./json-input.js";
import type { OnBehalf } from "./on-behalf.js";
import { maxPageSize, parsedBody } from "./shapes.js";
import type { Withheld } from "./withheld.js";

/** The body is the argument $1, as text: what JavaScript would round, the database reads exactly. */
const text = (name: string) => `$1::jsonb ->> '${name}'`;
const json = (name: string) => `$1::jsonb -> '${name}'`;
const integer = (name: string) => `($1::jsonb ->> '${name}')::int`;
const boolean = (name: string) => `($1::jsonb ->> '${name}')::boolean`;
const texts = (name: string) => `array(select jsonb_array_elements_text($1::jsonb -> '${name}'))`;

const cursor = z.record(z.string(), z.unknown()).nullish();
const tables = z.array(z.string()).nullish();
const schemaVersions = z.record(z.string(), z.unknown()).nullish();
const fields = z
  .record(z.string(), z.array(z.string()))
  .nullish()
  .describe('of tables the fields that are wanted: {"pages": ["title"]}; of the others all');
const pageSize = z.int().min(1).max(maxPageSize).nullish();

/**
 * The SQL functions that are reached by HTTP: the shape of the body, how each argument is read from it, and which of them have no
 * default in SQL, so that they are passed even when they are null; and which may be long.
 */
export const calls = {
  push: {
    sql: "perch.push",
    body: z.strictObject({
      app_id: z.string(),
      changes: z.array(z.unknown()),
      client_id: z.string().nullish(),
      atomic: z.boolean().nullish().describe("all changes apply, or none"),
      user_id: z.string().nullish().describe("whose changes they are: refused with PE403 when the token is another's"),
    }),
    arguments: { app_id: text, changes: json, client_id: text, atomic: boolean },
    passed: ["client_id"],
    large: ["changes"],
  },
  pull: {
    sql: "perch.pull_text",
    body: z.strictObject({
      app_id: z.string(),
      cursor,
      page_size: pageSize,
      tables,
      exclude_client_id: z.string().nullish(),
      schema_versions: schemaVersions,
      fields,
    }),
    arguments: {
      app_id: text,
      cursor: json,
      page_size: integer,
      tables: texts,
      exclude_client_id: text,
      schema_versions: json,
      fields: json,
    },
    passed: [],
    large: ["cursor"],
  },
  snapshot: {
    sql: "perch.snapshot_text",
    body: z.strictObject({
      app_id: z.string(),
      space_id: z.string().nullish(),
      after: z.string().nullish(),
      page_size: pageSize,
      cursor,
      tables,
      schema_versions: schemaVersions,
      fields,
    }),
    arguments: {
      app_id: text,
      space_id: text,
      after: text,
      page_size: integer,
      cursor: json,
      tables: texts,
      schema_versions: json,
      fields: json,
    },
    passed: [],
    large: ["cursor"],
  },
} as const;

export type CallName = keyof typeof calls;

/**
 * Calls a SQL function on a user's behalf, in one transaction, which is run again where Postgres undid it for the sake of another.
 * In: the body of the request: the function's arguments by name, as JSON; an absent or null one takes its default; since when it
 * waits. Out: what the function returned, as JSON text. Errors: PE422 when the body is of another shape; PE403 for a push that says it is another
 * user's; what the function raises.
 */
export async function call(
  onBehalf: OnBehalf,
  name: CallName,
  body: string,
  identity: Identity,
  withheld: Withheld,
  since: number,
): Promise<string> {
  const { sql, body: shape, arguments: readers, passed, large } = calls[name];
  const given = await parsedBody(shape as z.ZodType<Record<string, unknown>>, body, large);
  const { user_id: author } = given;
  if (typeof author === "string" && author !== identity.userId) {
    throw new PerchError(
      "PE403",
      "these changes are of another user than the token's",
      { argument: "user_id", reason: "another_user" },
      { hint: "Send them with a token of the user who made them." },
    );
  }
  const isPassed = (argument: string) =>
    (given[argument] ?? null) !== null || (passed as readonly string[]).includes(argument);
  const named = Object.entries(readers)
    .filter(([argument]) => isPassed(argument))
    .map(([argument, read]) => `${argument} => ${read(argument)}`);
  const ask = (text: string, asked: string = sql) => {
    const run = async (tx: Transaction) => {
      const [row] = await tx.last<{ result: string }>(`select ${asked}(${named.join(", ")})::text as result`, [text]);
      return row?.result ?? "null";
    };
    return name === "push"
      ? onBehalf.write(identity, spacesOf(given.changes), run, since)
      : onBehalf.look(identity, run);
  };
  const askReadable = () => {
    const { app_id, client_id = null, atomic = null } = given;
    const rest = JSON.stringify({ app_id, client_id, atomic }).slice(0, -1);
    const push = (changes: string) => ask(`${rest},"changes":${changes}}`);
    return pushReadable(onBehalf, identity, body, atomic === true, push);
  };
  if (await isSuspicious(body)) {
    if (name === "push") return askReadable();
    await refuseUnreadable(onBehalf, identity, body);
  }
  try {
    const answer = await ask(body);
    withheld.answered(answer, given.app_id);
    return answer;
  } catch (error) {
    const meaning = meaningOf(error);
    // Of its own accord perch.push rejects what a rule refuses: so this one spoke at the commit.
    if (name === "push" && meaning === "rule") {
      return ask(body, "perch.push_immediately").catch((second: unknown) => {
        // A mistake in what speaks at the commit: what it said there is all that can be said.
        throw meaningOf(second) === "defect" ? error : second;
      });
    }
    if (meaning !== "input") throw error;
    if (name === "push") return askReadable();
    await refuseUnreadable(onBehalf, identity, body);
    throw error;
  }
}

/** Where changes go, as far as they were read and say so; null: the personal space. */
function spacesOf(changes: unknown): Set<string | null> {
  const list = Array.isArray(changes) ? changes : [];
  return new Set(
    list.map((change: unknown) => {
      const { space_id: spaceId } = (typeof change === "object" && change !== null ? change : {}) as {
        space_id?: unknown;
      };
      return typeof spaceId === "string" ? spaceId : null;
    }),
  );
}
