import type { PGlite } from "@electric-sql/pglite";
import pg from "pg";
import { connectClient } from "../database/connect-client.js";
import { frame, withoutCopyIn } from "../database/pglite-wire.js";

/** What one statement came to. */
export interface SqlResult {
  /** Of a statement that returns rows, also when there are none. */
  columns: { name: string; isNumber: boolean }[] | undefined;
  /** As Postgres writes them; nothing is rounded on the way. */
  rows: (string | null)[][];
  /** What Postgres calls it: "INSERT 0 1", "CREATE TABLE". */
  tag: string;
}

export interface SqlRun {
  sql: string;
  result(result: SqlResult): void;
  notice(severity: string, message: string): void;
}

/** What the database refused. */
export class SqlError extends Error {
  readonly fields: Pick<pg.DatabaseError, "message" | "code" | "detail" | "hint" | "position">;

  constructor(cause: Pick<pg.DatabaseError, "message" | "code" | "detail" | "hint" | "position">) {
    super(cause.message, { cause });
    this.fields = cause;
  }
}

// int2, int4, int8, float4, float8, numeric, oid: what people like to see with their ends in one line.
const numbers = new Set([21, 23, 20, 700, 701, 1700, 26]);

/** One simple query on a server: its statements are one transaction, of which nothing is told when one of them fails. */
export async function runOnPostgres(url: string, asked: SqlRun, unreachable: (error: unknown) => Error): Promise<void> {
  const client = await connectClient(url, (place) => {
    const made = new pg.Client({
      ...place,
      application_name: "perch sql",
      types: { getTypeParser: () => (text: string) => text },
    });
    // Otherwise a connection that breaks between two statements ends the process without a word; the query fails by itself.
    made.on("error", () => undefined);
    return made;
  }).catch((error: unknown) => {
    throw unreachable(error);
  });
  client.on("notice", ({ severity, message }) => asked.notice(severity ?? "NOTICE", message ?? ""));
  const tags: string[] = [];
  // The driver keeps the first word only.
  const { connection } = client as unknown as { connection: NodeJS.EventEmitter };
  connection.on("commandComplete", ({ text }: { text: string }) => tags.push(text));
  try {
    const found = await client.query({ text: asked.sql, rowMode: "array" });
    for (const [at, { fields, rows, command }] of [found].flat().entries()) {
      const columns = fields.map(({ name, dataTypeID }) => ({ name, isNumber: numbers.has(dataTypeID) }));
      const returnsRows = fields.length > 0 || command === "SELECT";
      asked.result({ columns: returnsRows ? columns : undefined, rows: rows as never, tag: tags[at] ?? "" });
    }
  } catch (error) {
    throw error instanceof pg.DatabaseError ? new SqlError(error) : unreachable(error);
  } finally {
    await client.end().catch(() => undefined);
  }
}

interface Message {
  name: string;
  text?: string;
  fields?: unknown[];
  severity?: string;
  message?: string;
}

/** The same in an embedded database that this process has opened. */
export async function runOnPglite(client: PGlite, asked: SqlRun): Promise<void> {
  const { messages } = await client.execProtocol(withoutCopyIn(frame("Q", asked.sql)), { throwOnError: false });
  const results: SqlResult[] = [];
  let current: Omit<SqlResult, "tag"> = { columns: undefined, rows: [] };
  for (const message of messages as unknown as Message[]) {
    const { name, text = "", fields = [] } = message;
    if (name === "notice") asked.notice(message.severity ?? "NOTICE", message.message ?? "");
    else if (name === "rowDescription") {
      const described = fields as { name: string; dataTypeID: number }[];
      current.columns = described.map((each) => ({ name: each.name, isNumber: numbers.has(each.dataTypeID) }));
    } else if (name === "dataRow") current.rows.push(fields as (string | null)[]);
    else if (name === "commandComplete") {
      results.push({ ...current, tag: text });
      current = { columns: undefined, rows: [] };
    } else if (name === "error") throw new SqlError(message as never);
  }
  for (const result of results) asked.result(result);
}
