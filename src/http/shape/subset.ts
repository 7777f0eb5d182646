import { z } from "zod";
import { columnsIn, readFilter, readOrder } from "../../shapes/filter.js";
import type { Subset } from "../../shapes/queries.js";
import { parsed } from "../shapes.js";
import { InvalidShape, invalidBy, type ShapeRequest } from "./request.js";

const text = z.union([z.string(), z.number(), z.boolean()]).transform(String);
const whole = z.coerce.number().int().max(Number.MAX_SAFE_INTEGER);

/** The body of POST /v1/shape. What else clients tell of a subset is what these texts were made of. */
export const subsetBody = z.object({
  where: z.string().nullish(),
  params: z.record(z.string().regex(/^\d{1,5}$/), text).nullish(),
  limit: whole.min(1).nullish(),
  offset: whole.min(0).nullish(),
  order_by: z.string().nullish(),
});

/** Of which rows of a shape a request asks now; undefined: none in particular. `body`: of a POST. Errors: InvalidShape. */
export async function subsetOf(target: URL, ask: ShapeRequest, body: string | undefined): Promise<Subset | undefined> {
  const value = (name: string) => target.searchParams.get(`subset__${name}`) ?? undefined;
  const names = ["where", "params", "limit", "offset", "order_by"] as const;
  const given = names.flatMap((name) => (value(name) === undefined ? [] : [[name, value(name)] as const]));
  if (body === undefined && given.length === 0) return undefined;
  if (ask.live) throw new InvalidShape({ live: ["can't be true when a subset is asked for"] });
  try {
    const { params, ...rest } = Object.fromEntries(given) as Record<string, string | undefined>;
    const query = { ...rest, ...(params !== undefined && { params: parsed(z.unknown(), params, "params") }) };
    return await readSubsetParams(ask, body === undefined || body === "" ? query : { ...query, ...bodyOf(body) });
  } catch (error) {
    throw subsetError(error);
  }
}

/** An error of a parameter, with its name among those of the subset; any other as it is. */
export function subsetError(error: unknown): unknown {
  const invalid = invalidBy(error);
  if (invalid === undefined) return error;
  return new InvalidShape(
    Object.fromEntries(Object.entries(invalid.errors).map(([name, list]) => [`subset.${name}`, list])),
  );
}

const bodyOf = (body: string) => parsed(z.record(z.string(), z.unknown()), body);

async function readSubsetParams(ask: ShapeRequest, query: unknown): Promise<Subset> {
  const { data, error } = subsetBody.safeParse(query);
  if (data === undefined) {
    const [issue] = error.issues;
    throw new InvalidShape({ [String(issue?.path[0] ?? "body")]: [issue?.message ?? "is invalid"] });
  }
  const { where, params, limit = null, offset, order_by: orderBy } = data;
  if ((limit !== null || offset != null) && !orderBy) {
    throw new InvalidShape({ order_by: ["order_by is required when limit or offset is present"] });
  }
  const filter = await readFilter(where ?? undefined, params ?? {}, ask.table);
  const order = orderBy ? await readOrder(orderBy, ask.table) : null;
  const named = [...columnsIn(filter), ...(order ?? []).map(({ column }) => column)];
  const hidden = named.find((name) => ask.queryable !== null && !ask.queryable.includes(name));
  if (hidden !== undefined) throw new InvalidShape({ where: [`${hidden} is not among queryable_columns`] });
  return { filter, order, limit, offset: offset ?? 0, mark: Math.floor(Math.random() * 2_147_483_647) };
}
