import { z } from "zod";
import { PerchError } from "../errors.js";

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

/** The same for a value. */
export function shaped<T extends z.ZodType>(shape: T, value: unknown, what: string): z.output<T> {
  const { data, error } = shape.safeParse(value);
  if (error === undefined) return data;
  const issues = error.issues.map(({ path, message }) => ({ at: path.join("."), message }));
  throw new PerchError("PE422", `the ${what} is malformed: ${issues[0]?.at || what}: ${issues[0]?.message}`, {
    issues,
  });
}

/** The parameters of a query, by name. Those whose schema is an array may be repeated. */
export type QueryShape = Readonly<Record<string, z.ZodType>>;

/** Reads a query. Errors: PE422 for a parameter that is unknown, repeated, or of another shape. `token` may always be there. */
export function queryOf<T extends QueryShape>(target: URL, shape: T): z.output<z.ZodObject<T>> {
  const given: Record<string, unknown> = {};
  for (const name of new Set(target.searchParams.keys())) {
    if (name === "token") continue;
    const values = target.searchParams.getAll(name);
    const one = values.length === 1 && !(Object.hasOwn(shape, name) && mayRepeat(shape[name]));
    given[name] = one ? values[0] : values;
  }
  return shaped(z.strictObject(shape) as unknown as z.ZodObject<T>, given, "query");
}

export function mayRepeat(type: z.ZodType | undefined): boolean {
  return type instanceof z.ZodOptional ? mayRepeat(type.unwrap() as z.ZodType) : type instanceof z.ZodArray;
}
