import type { Queryable } from "../../database/types.js";
import { PerchError } from "../../errors.js";
import type { DocumentKey } from "../key.js";

const adoptSql = "select perch.adopt_row(space_id => $1, app_id => $2, table_name => $3, record_id => $4) as status";

/** How long a table that has no documents in columns is taken for one that still has none. */
const rememberedMs = 5_000;
const maxRemembered = 1_000;
const patienceMs = 5_000;
const firstLookMs = 5;

/**
 * Makes rows of synced tables documents, when somebody first wants them as such (see `perch.adopt_row`): that leaves what the columns have
 * to be merged, notifies the workers, and is done when one has merged it.
 */
export function createRowAdopter(db: Queryable): (key: DocumentKey) => Promise<void> {
  /** Tables without documents in columns, and until when that is believed. */
  const others = new Map<string, number>();

  async function statusOf({ spaceId, appId, tableName, recordId }: DocumentKey): Promise<string | null> {
    const [row] = await db.query<{ status: string | null }>(adoptSql, [spaceId, appId, tableName, recordId]);
    return row?.status ?? null;
  }

  return async (key) => {
    const table = JSON.stringify([key.appId, key.tableName]);
    if ((others.get(table) ?? 0) > Date.now()) return;
    const end = Date.now() + patienceMs;
    for (let pause = firstLookMs; ; pause = Math.min(pause * 2, 100)) {
      const status = await statusOf(key);
      if (status === null) {
        if (others.size >= maxRemembered) others.clear();
        others.set(table, Date.now() + rememberedMs);
      }
      if (status === "missing") {
        throw new PerchError("PE404", `table ${key.tableName} has no such row in this space`, { ...key });
      }
      if (status !== "waiting") return;
      if (Date.now() > end) throw new Error("no worker has merged what the columns of the row have; is one running?");
      await new Promise((done) => setTimeout(done, pause));
    }
  };
}
