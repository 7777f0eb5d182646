import { z } from "zod";
import type { Queryable } from "../../database/types.js";
import { PerchError } from "../../errors.js";
import type { Identity } from "../../identity/identity.js";
import { requireStorableJson } from "../json-input.js";
import { maxPageSize } from "../shapes.js";
import { cursorOf } from "./event-id.js";

/** What a stream reads. */
export interface Selection {
  readonly appId: string;
  readonly tables: readonly string[] | null;
  readonly excludeClientId: string | null;
  readonly pageSize: number;
  /** JSON text. */
  readonly schemaVersions: string | null;
  /** JSON text. */
  readonly fields: string | null;
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
  fields: z
    .string()
    .optional()
    .describe('of tables the fields that are wanted, as JSON: {"pages": ["title"]}; of the others all'),
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
  requireJson("schema_versions", query.schema_versions);
  requireJson("fields", query.fields);
  return {
    cursor,
    selection: {
      appId: query.app_id,
      tables: query.tables ?? null,
      excludeClientId: query.exclude_client_id ?? null,
      pageSize: query.page_size ?? defaultPageSize,
      schemaVersions: query.schema_versions ?? null,
      fields: query.fields ?? null,
    },
  };
}

function requireJson(argument: string, text: string | undefined): void {
  let value: unknown;
  try {
    if (text !== undefined) value = JSON.parse(text);
  } catch {
    throw new PerchError("PE422", `${argument} is not JSON`, { argument });
  }
  if (value !== undefined) requireStorableJson(argument, value);
}

// The context lasts as long as the statement does, and pull_text runs as its owner, whom the policies bind whoever calls. A stream's
// page ends sooner than pull's, since one page of each reader may wait in this process.
const pageSql = `
  select perch.stream_page(user_id => $1, space_ids => $2::text[], writable_space_ids => $3::text[], page_bytes => $4, app_id => $5,
                           cursor => $6::jsonb, page_size => $7, tables => $8::text[], exclude_client_id => $9,
                           schema_versions => $10::jsonb, fields => $11::jsonb) as page`;

/** Pulls on the user's behalf. Errors: as perch.pull. */
export async function readPage(
  db: Queryable,
  { userId, spaceIds, writableSpaceIds }: Identity,
  { appId, tables, excludeClientId, pageSize, schemaVersions, fields }: Selection,
  cursor: string,
  maxBytes: number,
): Promise<Page> {
  const [row] = await db.query<{ page: string }>(pageSql, [
    userId,
    spaceIds ?? null,
    writableSpaceIds ?? null,
    maxBytes,
    appId,
    cursor,
    pageSize,
    tables,
    excludeClientId,
    schemaVersions,
    fields,
  ]);
  if (row === undefined) throw new Error("perch.stream_page gave no page");
  return pageOf(row.page);
}

/**
 * Takes a page apart without reading its changes: what JavaScript would round reaches the client exactly. The text is
 * {"changes":[…],"cursor":{…},"has_more":…,"revoked_space_ids":[…]}; inside of the cursor, and of strings, these names are written
 * otherwise (with spaces, or with escaped quotes), so the last of each is the page's own.
 */
export function pageOf(text: string): Page {
  const cursorAt = text.lastIndexOf(',"cursor":');
  const moreAt = text.lastIndexOf(',"has_more":');
  if (!text.startsWith('{"changes":[') || cursorAt < 0 || moreAt < cursorAt)
    throw new Error("this is no page of changes");
  const { has_more: hasMore, revoked_space_ids: revoked } = restSchema.parse(JSON.parse(`{${text.slice(moreAt + 1)}`));
  const isEmpty = text.startsWith('{"changes":[]') && revoked.length === 0;
  return {
    // An event's data is one line, which the text is.
    body: isEmpty ? null : text,
    cursor: text.slice(cursorAt + ',"cursor":'.length, moreAt),
    hasMore,
  };
}

const restSchema = z.object({ has_more: z.boolean(), revoked_space_ids: z.array(z.string()) });
