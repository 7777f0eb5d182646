import { isDeepStrictEqual } from "node:util";
import { type ZodType, z } from "zod";
import { canBeStored } from "../database/text.js";
import { PerchError } from "../errors.js";

type Path = readonly PropertyKey[];

interface Problem {
  readonly path: Path;
  readonly message: string;
}

/** What JSON or jsonb would lose of a value: the first place, or undefined when it comes back as it is. */
function lostInJson(value: unknown, path: Path = []): Problem | undefined {
  const lost = (message: string): Problem => ({ path, message });
  switch (typeof value) {
    case "string":
      return canBeStored(value) ? undefined : lost("text with U+0000 or half of a surrogate pair cannot be stored");
    case "number":
      return Number.isFinite(value) ? undefined : lost(`${value} is no number of JSON`);
    case "boolean":
      return undefined;
    case "object":
      break;
    default:
      return lost(`JSON has no ${typeof value}`);
  }
  if (value === null) return undefined;
  if (Array.isArray(value)) {
    // Not forEach, which passes over the holes of a sparse array.
    for (let at = 0; at < value.length; at += 1) {
      const problem = lostInJson(value[at], [...path, at]);
      if (problem) return problem;
    }
    return undefined;
  }
  if (!isPlain(value)) return lost(`JSON has no ${value.constructor?.name ?? "object of this kind"}`);
  for (const [key, item] of Object.entries(value)) {
    if (!canBeStored(key)) return lost("a key with U+0000 or half of a surrogate pair cannot be stored");
    // A property that is undefined is one that is not there, to JSON as to most of JavaScript.
    const problem = item === undefined ? undefined : lostInJson(item, [...path, key]);
    if (problem) return problem;
  }
  return undefined;
}

/** Made with {}, or without a prototype, in this realm or another. */
function isPlain(value: object): boolean {
  const prototype: object | null = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** Where what came back differs from what was given; undefined when it does not. */
function difference(given: unknown, back: unknown, path: Path = []): Path | undefined {
  if (given === back || Object.is(given, back)) return undefined;
  if (typeof given !== "object" || typeof back !== "object" || given === null || back === null) return path;
  if (Array.isArray(given) && Array.isArray(back)) {
    if (given.length !== back.length) return path;
    for (let at = 0; at < given.length; at += 1) {
      const found = difference(given[at], back[at], [...path, at]);
      if (found) return found;
    }
    return undefined;
  }
  if (!isPlain(given) || !isPlain(back)) return isDeepStrictEqual(given, back) ? undefined : path;
  for (const key of new Set([...Object.keys(given), ...Object.keys(back)])) {
    const found = difference(own(given, key), own(back, key), [...path, key]);
    if (found) return found;
  }
  return undefined;
}

/** Not `value[key]`: the key may be `__proto__`. */
const own = (value: object, key: string): unknown => Object.getOwnPropertyDescriptor(value, key)?.value;

/** As JavaScript writes it: `state.notes[2].at`. */
const written = (what: string, path: Path): string =>
  path.reduce<string>((text, key) => {
    if (typeof key === "number") return `${text}[${key}]`;
    return /^[a-z_$][\w$]*$/i.test(String(key)) ? `${text}.${String(key)}` : `${text}[${JSON.stringify(String(key))}]`;
  }, what);

/** Runs what goes through a value in depth. A stack that is used up is the value's fault. */
function inDepth<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const message = `${what} is nested too deeply, or holds itself`;
    throw new PerchError("PE422", message, { argument: what, path: [] }, { cause: error });
  }
}

/** The JSON text of a value for jsonb. PE422, naming the path, for what would not come back from it as it is. */
export function jsonText(value: unknown, argument: string): string {
  return inDepth(argument, () => {
    const problem = lostInJson(value);
    if (problem === undefined) return JSON.stringify(value);
    const { path, message } = problem;
    throw new PerchError("PE422", `${written(argument, path)}: ${message}`, { argument, path });
  });
}

/**
 * In: a value and the schema that will read it. Out: the JSON to store.
 * Errors: PE422 unless the schema makes an equal value of that JSON again: nobody finds out later that it cannot be read.
 */
export function encoded<T>(schema: ZodType<T>, value: T, what: string, detail: object = {}): unknown {
  return inDepth(what, () => {
    const json = JSON.parse(jsonText(encode(schema, value, what, detail), what)) as unknown;
    const back = decoded(schema, json, `${what} would not be readable`, detail);
    const path = difference(value, back);
    if (path === undefined) return json;
    const message = `${written(what, path)} would not come back as it is: its schema reads something else than it wrote`;
    throw new PerchError("PE422", message, { ...detail, argument: what, path });
  });
}

/** In: stored JSON. Out: what the schema makes of it. Errors: PE422, saying `what`, where that fails. */
export function decoded<T>(schema: ZodType<T>, json: unknown, what: string, detail: object = {}): T {
  const { success, data, error } = z.safeDecode(schema, json as never);
  if (!success) throw refused(what, detail, error);
  return data;
}

function encode<T>(schema: ZodType<T>, value: T, what: string, detail: object): unknown {
  const message = `${what} cannot be written`;
  try {
    const { success, data, error } = z.safeEncode(schema, value as never);
    if (!success) throw refused(message, detail, error);
    return data;
  } catch (error) {
    if (error instanceof PerchError || error instanceof RangeError) throw error;
    // zod throws, without saying where, for what cannot be used both ways (a transform) or at once (a promise).
    const path = failingAt(schema, value);
    const about = `${message}: ${written(what, path)}: ${(error as Error).message}`;
    throw new PerchError("PE422", about, { ...detail, argument: what, path }, { cause: error });
  }
}

/** The innermost part of a schema of objects and arrays that zod throws for. */
function failingAt(schema: z.core.$ZodType, value: unknown, path: Path = []): Path {
  const inside = (key: PropertyKey, part: z.core.$ZodType): Path | undefined => {
    const item = (value as Record<PropertyKey, unknown> | undefined)?.[key];
    try {
      z.safeEncode(part, item);
      return undefined;
    } catch {
      return failingAt(part, item, [...path, key]);
    }
  };
  if (schema instanceof z.ZodObject) {
    for (const [key, part] of Object.entries(schema.shape)) {
      const found = inside(key, part as z.core.$ZodType);
      if (found) return found;
    }
  }
  if (schema instanceof z.ZodArray && Array.isArray(value)) {
    for (const at of value.keys()) {
      const found = inside(at, schema.element as z.core.$ZodType);
      if (found) return found;
    }
  }
  return path;
}

function refused(message: string, detail: object, error: z.core.$ZodError): PerchError {
  const issues = error.issues.map((issue) => ({ path: issue.path, message: issue.message }));
  return new PerchError(
    "PE422",
    `${message}: ${z.prettifyError(error)}`,
    { ...detail, path: issues[0]?.path ?? [], issues },
    { cause: error },
  );
}
