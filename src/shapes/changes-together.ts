import type { Queryable } from "../database/types.js";
import type { ChangesPage, OpenedShape, ShapeQuery } from "./queries.js";
import type { FilterNode } from "./tree.js";

const togetherSql = `
  select c.* from perch.changes_of_shapes(schema_name => $1, relation_name => $2, app_id => $3, table_name => $4,
    after_position => $5::bigint, upto => $6::bigint, spaces => $7::text[], filters => $8::text[]::jsonb[],
    columns => $9::text[], whole => $10, max_bytes => $11) c`;

interface TogetherRow {
  messages: string[];
  txids: string[];
  space_ids: string[];
  filter_numbers: string[];
  untried: number[];
  content: string | null;
}

/** What happened to several shapes of a table without rules, which differ in their filters, and in whose spaces they show. */
export interface ChangesTogether {
  /** Of the table, at that moment. */
  readonly content: string | null;
  /** In: which of the filters, and all spaces of who asks. Out: undefined where it is to be asked for by itself (`readChanges`). */
  pageOf(filter: number, spaces: readonly string[]): ChangesPage | undefined;
}

/**
 * In: the table, by its names in the database and in the log; spaces of all who ask; a stretch of the log, from one end of a transaction to another; a
 * connection of perch_worker. Errors: PE404, PE410, PE422, and what a constant in any of the filters fails by.
 */
export async function readChangesTogether(
  db: Queryable,
  { schema, table, columns }: Omit<ShapeQuery, "filter">,
  { app_id: appId, table: logName }: Pick<OpenedShape, "app_id" | "table">,
  spaces: readonly string[],
  filters: readonly (FilterNode | null)[],
  from: { lsn: bigint; upto: bigint; whole: boolean; maxBytes: number },
): Promise<ChangesTogether> {
  const texts = filters.map((filter) => JSON.stringify(filter));
  const names = [schema, table, appId, logName];
  const params = [...names, from.lsn, from.upto, spaces, texts, columns, from.whole, from.maxBytes];
  const [row] = await db.query<TogetherRow>(togetherSql, params);
  if (row === undefined) throw new Error("perch.changes_of_shapes gave no row");
  const { messages, space_ids: spaceIds, content } = row;
  const txids = row.txids.map(BigInt);
  const places: number[][] = filters.map(() => []);
  for (const [at, numbers] of row.filter_numbers.entries()) {
    for (const number of numbers.split(",")) places[Number(number) - 1]?.push(at);
  }
  const untried = new Set(row.untried);
  return {
    content,
    pageOf(filter, ofReader) {
      if (untried.has(filter + 1)) return undefined;
      const readable = new Set(ofReader);
      const here = (places[filter] as number[]).filter((at) => readable.has(spaceIds[at] as string));
      const ofPage = here.map((at, place) => {
        const next = here[place + 1];
        const isLast = next === undefined || txids[next] !== txids[at];
        return isLast ? markedLast(messages[at] as string) : (messages[at] as string);
      });
      return {
        ...{ messages: ofPage, txids: here.map((at) => txids[at] as bigint) },
        ...{ lsn: from.upto, op: 0n, isEnd: true, definitions: [] },
      };
    },
  };
}

/** As perch.marked_last. */
const markedLast = (message: string) => `${message.slice(0, -"}}".length)},"last":true}}`;
