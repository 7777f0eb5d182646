import type { Queryable } from "../database/types.js";
import type { LiveDocuments } from "../documents/live.js";

interface DeclarationRow {
  app_id: string;
  table_name: string;
  fields: string;
}

/** Notices declarations that gained fields, and has the open documents of such a table loaded again before their next use. */
export function createDeclarations(db: Queryable, live: LiveDocuments): { poll(): Promise<void> } {
  let known: Map<string, string> | undefined;
  let latest = "-infinity";

  return {
    async poll() {
      // A table has few rows; those of a transaction that began before our last poll and committed after it are seen by the overlap.
      const rows = await db.query<DeclarationRow & { updated_at: string }>(
        "select * from perch.declared_since(since => $1::timestamptz - interval '1 hour')",
        [latest],
      );
      for (const { app_id: appId, table_name: tableName, fields } of rows) {
        const name = JSON.stringify([appId, tableName]);
        const before = known?.get(name);
        if (before !== undefined && before !== fields) live.redeclared(appId, tableName);
        known = (known ?? new Map()).set(name, fields);
      }
      latest = rows.at(-1)?.updated_at ?? latest;
    },
  };
}
