import { z } from "zod";
import { PerchError } from "../errors.js";
import { jsonMembers } from "../lib/json-outline.js";
import { requireTexts } from "./json-input.js";

/** What perch.pull takes. */
export const maxPageSize = 10_000;

/** Parses JSON text of a shape. `what` names it in the error. Errors: PE422 naming what is wrong, and where. */
export function parsed<T extends z.ZodType>(shape: T, text: string, what = "body"): z.output<T> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new PerchError("PE422", `the ${what} is not JSON`);
  }
  return shaped(shape, value, what);
}

/** What is parsed at once: JSON of this length takes a few milliseconds, whatever it consists of. */
const parsedLength = 64 * 1024;
/** Of a body that is longer. */
const maxMembers = 64;

/**
 * The same for a body, which may be long. In a long one the members named as `large` are taken to be what they begin as, and left to
 * the database to read; all others together must be short. Errors: also PE413.
 */
export async function parsedBody<T extends z.ZodType>(
  shape: T,
  text: string,
  large: readonly string[],
): Promise<z.output<T>> {
  if (text.length <= parsedLength) return parsed(shape, text);
  const members = await jsonMembers(text, maxMembers);
  if (members === undefined) {
    throw new PerchError("PE422", `the body is not JSON, or no object of at most ${maxMembers} members`);
  }
  const value: Record<string, unknown> = {};
  let left = parsedLength;
  for (const { name = "", start, end } of members) {
    const opening = text[start];
    if (large.includes(name) && (opening === "[" || opening === "{")) {
      value[name] = opening === "[" ? [] : {};
      continue;
    }
    left -= end - start;
    if (left < 0) {
      throw new PerchError(
        "PE413",
        `what stands beside ${large.join(", ")} in the body is over ${parsedLength} bytes`,
        {
          limit: "body_members_bytes",
          max: parsedLength,
        },
      );
    }
    Object.defineProperty(value, name, { ...plain, value: parsed(z.unknown(), text.slice(start, end)) });
  }
  return shaped(shape, text.trimStart().startsWith("[") ? [] : value, "body");
}

const plain = { enumerable: true, writable: true, configurable: true };

/** The same for a value. */
export function shaped<T extends z.ZodType>(shape: T, value: unknown, what: string): z.output<T> {
  refuseTooMany(value, what);
  const { data, error } = shape.safeParse(value);
  if (error === undefined) {
    if (typeof data === "object" && data !== null) requireTexts(data);
    return data;
  }
  const issues = error.issues.slice(0, maxIssues).map(({ path, message }) => ({
    at: short(path.join(".")),
    message: short(message),
  }));
  throw new PerchError("PE422", `the ${what} is malformed: ${issues[0]?.at || what}: ${issues[0]?.message}`, {
    issues,
  });
}

/** Checking costs a little for each item, and an issue of each can be made: what has more than any honest request is not looked at. */
const maxItems = 10_000;
const maxIssues = 10;
const maxIssueLength = 200;

const short = (text: string) => (text.length > maxIssueLength ? `${text.slice(0, maxIssueLength)}…` : text);

/** Errors: PE413 for an object, or an array or object in it, of too many items. */
function refuseTooMany(value: unknown, what: string): void {
  const parts = typeof value === "object" && value !== null ? Object.entries(value) : [];
  for (const [name, part] of [[what, value] as const, ...parts.slice(0, maxItems + 1)]) {
    const items = countOf(part);
    if (items > maxItems) {
      throw new PerchError("PE413", `${short(name)} has ${items} items, over the limit of ${maxItems}`, {
        limit: "items",
        max: maxItems,
        at: short(name),
      });
    }
  }
}

function countOf(value: unknown): number {
  if (Array.isArray(value)) return value.length;
  return typeof value === "object" && value !== null ? Object.keys(value).length : 0;
}

/** The parameters of a query, by name. Those whose schema is an array may be repeated. */
export type QueryShape = Readonly<Record<string, z.ZodType>>;

/** A stream may name many tables. */
const maxParameters = 1_100;

/**
 * Reads a query. Errors: PE422 for a parameter that is unknown, repeated, of another shape, or not UTF-8. `token` may always be there.
 */
export function queryOf<T extends QueryShape>(target: URL, shape: T): z.output<z.ZodObject<T>> {
  const { search } = target;
  const values = new Map<string, string[]>();
  let count = 0;
  for (const [name, value] of target.searchParams) {
    if (name === "token") continue;
    count += 1;
    if (count > maxParameters) {
      throw new PerchError("PE422", `the query has over ${maxParameters} parameters`, { max: maxParameters });
    }
    // What does not decode was replaced by that character.
    if (`${name}${value}`.includes("\ufffd") && !/\ufffd|%ef%bf%bd/i.test(search))
      throw new PerchError("PE422", `${short(name)} is not UTF-8`, { argument: short(name), expected: "UTF-8" });
    const before = values.get(name);
    if (before === undefined) values.set(name, [value]);
    else before.push(value);
  }
  const isList = (name: string) => Object.hasOwn(shape, name) && mayRepeat(shape[name]);
  const given = Object.fromEntries(
    [...values].map(([name, all]) => [name, all.length === 1 && !isList(name) ? all[0] : all]),
  );
  return shaped(z.strictObject(shape) as unknown as z.ZodObject<T>, given, "query");
}

export function mayRepeat(type: z.ZodType | undefined): boolean {
  return type instanceof z.ZodOptional ? mayRepeat(type.unwrap() as z.ZodType) : type instanceof z.ZodArray;
}
