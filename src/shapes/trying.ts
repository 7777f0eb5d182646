import type { Queryable } from "../database/types.js";
import type { Look } from "./looks.js";
import type { ShapeWatch, Waiter } from "./watch.js";

const valuesSql = `select perch.changed_values(schema_name => $1, relation_name => $2, app_id => $3, table_name => $4,
                     after_position => $5::bigint, upto => $6::bigint, columns => $7::text[]) as values`;
const matchesSql = `select perch.shape_matches(schema_name => $1, relation_name => $2, app_id => $3, table_name => $4,
                      after_position => $5::bigint, upto => $6::bigint, filters => $7::text[]::jsonb[]) as matches`;
/** Filters that are tried for a user, and how long they may be: the looks are everybody's. With more, or longer ones, each looks for itself, in its user's turn. */
const triedOfUser = 20;
const triedLength = 4_000;
/** Filters of one statement. */
const maxFilters = 200;

/** Columns of a table that filters required something of. */
export interface AskedColumns {
  /** One of those who did. */
  readonly watch: ShapeWatch;
  readonly columns: Set<string>;
}

interface TryingLog {
  warn(details: object, message: string): void;
}

/** By table and column. Where they cannot be read it is not known what they were, and filters are tried. */
export async function valuesOf(
  db: Queryable,
  log: TryingLog,
  asked: readonly AskedColumns[],
  after: bigint,
  upto: bigint,
): Promise<Look["values"]> {
  const values = new Map<string, ReadonlyMap<string, ReadonlySet<string>>>();
  for (const { watch, columns: names } of asked) {
    const { name, schema, relation, appId, table } = watch;
    const params = [schema, relation, appId, table, after, upto, [...names]];
    try {
      const [row] = await db.query<{ values: Record<string, string[]> }>(valuesSql, params, { prepare: true });
      const columns = Object.entries(row?.values ?? {}).map(([column, had]) => [column, new Set(had)] as const);
      values.set(name, new Map(columns));
    } catch (error) {
      log.warn({ err: error, table }, "values of changed rows could not be read; filters are tried on them");
    }
  }
  return values;
}

/** Those whose filters may be true of what changed between two positions. Of fewer than a few filters each looks for itself. */
export async function matching<W extends Waiter>(
  db: Queryable,
  log: TryingLog,
  concerned: readonly W[],
  after: bigint,
  upto: bigint,
): Promise<readonly W[]> {
  const [first] = concerned;
  const texts = filtersToTry(concerned);
  if (first === undefined || texts.length < 3) return concerned;
  const tried = new Set(texts);
  const true_ = new Set<string>();
  try {
    for (let start = 0; start < texts.length; start += maxFilters) {
      const some = texts.slice(start, start + maxFilters);
      const { schema, relation, appId, table } = first.watch;
      const [row] = await db.query<{ matches: boolean[] }>(matchesSql, [
        ...[schema, relation, appId, table],
        ...[after, upto, some],
      ]);
      for (const [nth, text] of some.entries()) if (row?.matches[nth] !== false) true_.add(text);
    }
  } catch (error) {
    log.warn({ err: error }, "filters of shapes could not be tried together; each is tried for itself");
    return concerned;
  }
  return concerned.filter(({ watch: { filterText } }) => !tried.has(filterText) || true_.has(filterText));
}

function filtersToTry(concerned: readonly Waiter[]): string[] {
  const chosen = new Set<string>();
  const taken = new Map<string, number>();
  for (const { watch, userId } of concerned) {
    const { filter, filterText } = watch;
    const count = taken.get(userId) ?? 0;
    if (filter === null || chosen.has(filterText) || filterText.length > triedLength || count >= triedOfUser) continue;
    taken.set(userId, count + 1);
    chosen.add(filterText);
  }
  return [...chosen];
}
