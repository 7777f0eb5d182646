import { z } from "zod";

const flag = z.enum(["true", "false"]).optional();

/** The parameters of GET /v1/shape, for its description: `shapeRequest` reads them, and passes over what it does not know. */
export const shapeQuery = {
  table: z.string().describe("[schema.]table, quoted as in SQL"),
  offset: z
    .string()
    .describe("-1: from the beginning; now: what is to come; else electric-offset of the answer before"),
  handle: z.string().optional().describe("electric-handle of the answer before"),
  live: flag.describe("waits for a change"),
  live_sse: flag.describe("with live: changes as Server-Sent Events"),
  cursor: z.string().optional().describe("electric-cursor of the live answer before"),
  where: z.string().optional().describe("a filter, as behind WHERE; its parameters are params[1], params[2] and so on"),
  columns: z.string().optional().describe("these columns alone, by commas, the primary key among them"),
  replica: z
    .enum(["default", "full"])
    .optional()
    .describe("full: whole rows with updates and deletions, and old values"),
  log: z.enum(["full", "changes_only"]).optional().describe("changes_only: without the first snapshot"),
};

const rowHeaders = z.looseObject({
  operation: z.enum(["insert", "update", "delete"]),
  relation: z.array(z.string()),
  txids: z.array(z.number()).optional(),
  lsn: z.string().optional(),
  op_position: z.number().optional(),
  last: z.boolean().optional(),
});

const row = z.record(z.string(), z.string().nullable());

const operation = z.object({ key: z.string(), value: row, old_value: row.optional(), headers: rowHeaders });

export const shapeMessages = z.array(
  z.union([
    operation,
    z.object({ headers: z.looseObject({ control: z.enum(["up-to-date", "must-refetch", "snapshot-end"]) }) }),
  ]),
);

/** What is wrong, by parameter where one is at fault; 409 is a message. */
export const shapeProblem = z.union([
  z.object({ message: z.string(), errors: z.record(z.string(), z.array(z.string())).optional() }),
  z.array(z.object({ headers: z.object({ control: z.literal("must-refetch") }) })),
]);

export const shapeSubsetAnswer = z.object({
  metadata: z.object({
    xmin: z.string(),
    xmax: z.string(),
    xip_list: z.array(z.string()),
    snapshot_mark: z.number(),
    database_lsn: z.string(),
  }),
  data: z.array(operation),
});
