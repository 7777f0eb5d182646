import { z } from "zod";
import type { QueryShape } from "../shapes.js";

const text = z.string().max(1_024).optional();
const number = z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).optional();

/** What a view can be asked for: the names are those of the SQL functions' arguments. */
export const consoleQuery = {
  space_id: text,
  app_id: text,
  table_name: text,
  record_id: text,
  user_id: text,
  client_id: text,
  tenant_id: text,
  thread_id: text,
  namespace: text,
  checkpoint_id: z.uuid().optional(),
  search: text.describe("how the names begin"),
  after: text.describe("next of the page before"),
  after_namespace: text,
  after_seq: number,
  before_seq: number,
  seq: number.describe("the document as it was at this position"),
  page_size: z.coerce.number().int().min(1).max(200).optional().describe("50 when not given"),
} satisfies QueryShape;

export type ConsoleQuestion = z.output<z.ZodObject<typeof consoleQuery>>;
type Argument = keyof ConsoleQuestion;

export interface View {
  /** The SQL function that answers. */
  readonly sql: string;
  /** Without these there is no answer. */
  readonly needs: readonly Argument[];
  readonly takes: readonly Argument[];
}

const document = ["space_id", "app_id", "table_name", "record_id"] as const;

/** What the console shows from the database: each view is one SQL function of sql/console/, by its arguments. */
export const views: Readonly<Record<string, View>> = {
  overview: { sql: "perch.console_overview", needs: [], takes: [] },
  spaces: { sql: "perch.console_spaces", needs: [], takes: ["search", "after", "page_size"] },
  space: { sql: "perch.console_space", needs: ["space_id"], takes: [] },
  records: {
    sql: "perch.console_records",
    needs: ["space_id", "app_id", "table_name"],
    takes: ["search", "after", "page_size"],
  },
  record: { sql: "perch.console_record", needs: document, takes: [] },
  log: {
    sql: "perch.console_log",
    needs: [],
    takes: [...document, "user_id", "client_id", "after_seq", "before_seq", "page_size"],
  },
  access: {
    sql: "perch.console_access",
    needs: ["user_id", "space_id"],
    takes: ["app_id", "table_name", "record_id"],
  },
  document: { sql: "perch.console_document", needs: document, takes: ["before_seq", "page_size"] },
  set_aside: { sql: "perch.console_set_aside", needs: [], takes: ["page_size"] },
  synced: { sql: "perch.console_synced", needs: [], takes: [] },
  threads: {
    sql: "perch.console_threads",
    needs: [],
    takes: ["tenant_id", "search", "after", "after_namespace", "page_size"],
  },
  thread: {
    sql: "perch.console_thread",
    needs: ["tenant_id", "thread_id"],
    takes: ["namespace", "before_seq", "page_size"],
  },
  checkpoint: {
    sql: "perch.console_checkpoint",
    needs: ["tenant_id", "thread_id", "checkpoint_id"],
    takes: ["namespace"],
  },
};

/** One update that was set aside; or a position of a document. */
export const consoleActionBody = z.strictObject({
  space_id: z.string(),
  app_id: z.string(),
  table_name: z.string(),
  record_id: z.string(),
  seq: z.int().nonnegative(),
});

/** What can be done in the console, by admins. */
export const actions: Readonly<Record<string, string>> = {
  retry: "perch.console_retry",
  discard: "perch.console_discard",
  revert: "perch.console_revert",
};
