import { z } from "zod";
import { withContext } from "../../context/index.js";
import type { Database } from "../../database/types.js";
import { PerchError } from "../../errors.js";
import { maxPageSize } from "../shapes.js";
import type { Identity } from "../tokens.js";
import { cursorOf } from "./event-id.js";

/** What a stream reads. */
export interface Selection {
  readonly appId: string;
  readonly tables: readonly string[] | null;
  readonly excludeClientId: string | null;
  readonly pageSize: number;
  /** JSON text. */
  readonly schemaVersions: string | null;
}

export interface Page {
  /** What pull answered, as JSON text in one line; null when there is neither a change nor a space that was lost. */
  readonly body: string | null;
  /** JSON text. */
  readonly cursor: string;
  readonly hasMore: boolean;
}

/** The query of GET /v1/changes. `tables` may be repeated. */
export const streamQuery = {
  app_id: z.string(),
  tables: z.array(z.string()).optional().describe("only these tables; repeat the parameter for several"),
  exclude_client_id: z
    .string()
    .optional()
    .describe("without the changes of this client, once the end of the log has been reached"),
  page_size: z.coerce.number().int().min(1).max(maxPageSize).optional().describe("changes in an event at most"),
  schema_versions: z
    .string()
    .optional()
    .describe('the versions the client knows, as JSON: {"tasks": 3}; older changes are lifted to them'),
  cursor: z
    .string()
    .optional()
    .describe("where to go on: the id of the last event, or a cursor of pull as JSON; Last-Event-ID wins"),
};

const defaultPageSize = 500;

/** In: the query as parsed, and what the client says it has seen. Errors: PE413, PE422. */
export function selectionOf(
  query: z.output<z.ZodObject<typeof streamQuery>>,
  lastEventId: string | undefined,
): { selection: Selection; cursor: string } {
  const cursor = cursorOf(lastEventId || query.cursor || "");
  if (query.schema_versions !== undefined) requireJson(query.schema_versions);
  return {
    cursor,
    selection: {
      appId: query.app_id,
      tables: query.tables ?? null,
      excludeClientId: query.exclude_client_id ?? null,
      pageSize: query.page_size ?? defaultPageSize,
      schemaVersions: query.schema_versions ?? null,
    },
  };
}

function requireJson(text: string): void {
  try {
    JSON.parse(text);
  } catch {
    throw new PerchError("PE422", "schema_versions is not JSON", { argument: "schema_versions" });
  }
}

// The page as text: what JavaScript would round reaches the client exactly. A stream's page is bounded more tightly than pull's,
// since one page of each of its readers may wait in this process.
const pageSql = `
with bound as materialized (
  select set_config('perch.max_page_bytes',
           least(coalesce(nullif(current_setting('perch.max_page_bytes', true), '')::bigint, $7), $7)::text, true) as bytes
), page as materialized (
  select perch.pull(app_id => case when b.bytes is not null then $1 end, cursor => $2::jsonb, page_size => $3, tables => $4::text[],
                    exclude_client_id => $5, schema_versions => $6::jsonb) as p
    from bound b
)
select case when p -> 'changes' <> '[]' or p -> 'revoked_space_ids' <> '[]' then p::text end as body,
       (p -> 'cursor')::text as cursor, (p ->> 'has_more')::boolean as "hasMore"
  from page`;

/** Pulls on the user's behalf. Errors: as perch.pull. */
export function readPage(
  db: Database,
  identity: Identity,
  { appId, tables, excludeClientId, pageSize, schemaVersions }: Selection,
  cursor: string,
  maxBytes: number,
): Promise<Page> {
  return withContext(db, identity, async (tx) => {
    const [page] = await tx.query<Page>(pageSql, [
      appId,
      cursor,
      pageSize,
      tables,
      excludeClientId,
      schemaVersions,
      maxBytes,
    ]);
    if (page === undefined) throw new Error("perch.pull gave no page");
    return page;
  });
}
