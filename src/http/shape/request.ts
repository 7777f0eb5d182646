import { cannotEvaluate, sqlStateOf } from "../../database/errors.js";
import { PerchError } from "../../errors.js";
import { readFilter } from "../../shapes/filter.js";
import { type Handle, readHandle } from "../../shapes/handle.js";
import { isLogStart, type Position, positionOf } from "../../shapes/position.js";
import type { ShapeQuery } from "../../shapes/queries.js";

/** What a request of the shape protocol asks for: which shape, and where its reader stands. */
export interface ShapeRequest extends ShapeWanted, ShapePlace {}

/** Which shape: the same for all who follow it. */
export interface ShapeWanted extends ShapeQuery {
  /** The filter as it was written; empty: there is none. */
  readonly where: string;
  /** Updates and deletions with whole rows, and old values. */
  readonly whole: boolean;
  readonly changesOnly: boolean;
  /** The columns that a subset may name; null: all. */
  readonly queryable: readonly string[] | null;
}

/** Where a reader stands, and how it is to be told of more. */
export interface ShapePlace {
  readonly from: Position;
  /** Undefined where the reader begins, and for one that was not made here. */
  readonly handle: Handle | undefined;
  readonly live: boolean;
  readonly events: boolean;
  /** What the last live answer said. */
  readonly cursor: string | undefined;
}

/** Something is wrong with a parameter: the protocol's own form of a problem. */
export class InvalidShape extends Error {
  constructor(readonly errors: Readonly<Record<string, readonly string[]>>) {
    super("Invalid request");
    this.name = "InvalidShape";
  }
}

const invalid = (name: string, message: string) => new InvalidShape({ [name]: [message] });

/** More values than any filter has. */
const maxParams = 1_000;

/** Reads the parameters of GET /v1/shape. What is unknown is left to whatever stands in between. Errors: InvalidShape. */
export async function shapeRequest(target: URL): Promise<ShapeRequest> {
  const value = (name: string) => target.searchParams.get(name) ?? undefined;
  const { schema, table } = tableOf(value("table"));
  const place = placeOf(target);
  const allowed = value("queryable_columns");
  const queryable = allowed === undefined ? null : columnsOf("queryable_columns", allowed);
  const listed = value("columns");
  const columns = listed === undefined ? queryable : columnsOf("columns", listed);
  const hidden = queryable === null ? undefined : columns?.find((name) => !queryable.includes(name));
  if (hidden !== undefined) throw invalid("columns", `${hidden} is not among queryable_columns`);
  return {
    schema,
    table,
    ...place,
    columns,
    queryable,
    where: value("where") ?? "",
    filter: await filterOf(value("where"), paramsOf(target), table),
    whole: oneOf("replica", value("replica"), ["default", "full"]) === "full",
    changesOnly: oneOf("log", value("log"), ["full", "changes_only"]) === "changes_only",
  };
}

/** Reads of the parameters those that say where a reader stands. Errors: InvalidShape. */
export function placeOf(target: URL): ShapePlace {
  const value = (name: string) => target.searchParams.get(name) ?? undefined;
  const offset = value("offset");
  if (offset === undefined) throw invalid("offset", "can't be blank");
  const asked = positionOf(offset);
  if (asked === undefined) throw invalid("offset", "has invalid format");
  const begins = asked.in === "now" || (asked.in === "rows" && asked.key === null);
  const handle = value("handle");
  if (!begins && (handle === undefined || handle === "")) throw invalid("handle", "can't be blank when offset != -1");
  const known = begins || handle === undefined ? undefined : readHandle(handle);
  const from = isLogStart(asked) ? { ...asked, lsn: known?.since ?? 0n } : asked;
  const live = booleanOf("live", value("live"));
  if (begins && live) {
    throw invalid(
      "live",
      asked.in === "now" ? "can't be true when offset is 'now'" : "can't be true when offset == -1",
    );
  }
  const events = booleanOf("live_sse", value("live_sse") ?? value("experimental_live_sse"));
  if (events && !live) throw invalid("live_sse", "can't be true unless live is also true");
  return { from, handle: known, live, events, cursor: value("cursor") };
}

/** Of a request which shape it asks for. */
export function wantedOf(ask: ShapeWanted): ShapeWanted {
  const { schema, table, filter, columns, where, whole, changesOnly, queryable } = ask;
  return { schema, table, filter, columns, where, whole, changesOnly, queryable };
}

/** Names the parameter at fault of an error of perch, as the protocol does; undefined for errors of other kinds. */
export function invalidBy(error: unknown): InvalidShape | undefined {
  if (error instanceof InvalidShape) return error;
  // Of which part is told where Postgres tells it of the text; never which value it met.
  if (cannotEvaluate(error)) {
    return invalid("where", withoutValues(error));
  }
  if (!(error instanceof PerchError) || !["PE404", "PE413", "PE422"].includes(error.code)) return undefined;
  const { argument } = (error.detail ?? {}) as { argument?: unknown };
  const name = error.code === "PE404" ? "table" : typeof argument === "string" ? argument : "where";
  return invalid(name, error.message.replace(/^\w+: /, ""));
}

/** What Postgres says of types and operators. A value that an expression fails for it quotes, and that may be one of a row or column out of sight. */
function withoutValues(error: unknown): string {
  const { message } = error as Error;
  const [told = ""] = sqlStateOf(error)?.startsWith("42") ? [message] : message.split(/["':]/, 1);
  return /operator|function|type|enum/.test(told) ? told.trim() : "it cannot be evaluated";
}

function booleanOf(name: string, text: string | undefined): boolean {
  if (text === undefined) return false;
  if (text === "true" || text === "1") return true;
  if (text === "false" || text === "0") return false;
  throw invalid(name, "is invalid");
}

function oneOf<T extends string>(name: string, text: string | undefined, words: readonly [T, ...T[]]): T {
  const word = words.find((one) => one === (text ?? words[0]));
  if (word === undefined) throw invalid(name, "is invalid");
  return word;
}

async function filterOf(where: string | undefined, params: Record<string, string>, table: string) {
  try {
    return await readFilter(where, params, table);
  } catch (error) {
    throw invalidBy(error) ?? error;
  }
}

/** `params[1]=…&params[2]=…` */
function paramsOf({ searchParams }: URL): Record<string, string> {
  const params: Record<string, string> = {};
  let count = 0;
  for (const [name, value] of searchParams) {
    const [, number = ""] = /^params\[(\d{1,5})\]$/.exec(name) ?? [];
    if (number === "") continue;
    count += 1;
    if (count > maxParams) throw invalid("params", `are over ${maxParams}`);
    params[String(Number(number))] = value;
  }
  return params;
}

/** Reads a name of a table. Errors: InvalidShape. */
export function tableOf(text: string | undefined): { schema: string; table: string } {
  if (text === undefined || text === "") throw invalid("table", "can't be blank");
  const names = identifiersOf(text, ".");
  if (names === undefined || names.length > 2) {
    throw invalid("table", "is no name of a table: write it as in SQL, quoted where it must be there");
  }
  const [table = "", schema = "public"] = [...names].reverse();
  return { schema, table };
}

function columnsOf(name: string, text: string): string[] {
  const names = identifiersOf(text, ",");
  if (names === undefined) throw invalid(name, "Invalid zero-length identifier, or one that is not quoted as in SQL");
  return [...new Set(names)];
}

/** Names as SQL writes them, between separators; undefined where something else stands there. */
function identifiersOf(text: string, separator: "." | ","): string[] | undefined {
  const name = /\s*(?:"((?:[^"]|"")+)"|([\p{L}_][\p{L}\p{N}_$]*))\s*/uy;
  const names: string[] = [];
  for (let at = 0; ; at = name.lastIndex + 1) {
    name.lastIndex = at;
    const [, quoted, plain] = name.exec(text) ?? [];
    if (quoted === undefined && plain === undefined) return undefined;
    names.push(
      quoted === undefined
        ? (plain as string).replace(/[A-Z]/g, (letter) => letter.toLowerCase())
        : quoted.replaceAll('""', '"'),
    );
    if (name.lastIndex === text.length) return names;
    if (text[name.lastIndex] !== separator) return undefined;
  }
}
