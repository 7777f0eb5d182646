import { isLockTimeout, lockTimeoutCode } from "../../database/errors.js";
import type { Queryable } from "../../database/types.js";
import { PerchError } from "../../errors.js";
import { type DocumentKey, documentId } from "../key.js";

const adoptSql = `
  select perch.adopt_row(space_id => $1, app_id => $2, table_name => $3, record_id => $4, lock_timeout_ms => $5) as status`;

/** How long a table that has no documents in columns is taken for one that still has none. */
const rememberedMs = 5_000;
const maxRemembered = 1_000;
const patienceMs = 5_000;
const firstLookMs = 5;
/** A row that an open transaction of the app has locked is not waited for in the database: that would hold a connection. */
const lockTimeoutMs = 100;

/**
 * Makes rows of synced tables documents, when somebody first wants them as such (see `perch.adopt_row`): that leaves what the columns have
 * to be merged, notifies the workers, and is done when one has merged it.
 * Errors: PE404, PE422; 55P03 when neither has happened after `longestMs`.
 */
export function createRowAdopter(db: Queryable, longestMs = patienceMs): (key: DocumentKey) => Promise<void> {
  /** Tables without documents in columns, and until when that is believed. */
  const others = new Map<string, number>();

  /** Rows that are being looked at: whoever comes meanwhile waits for the same. */
  const underWay = new Map<string, Promise<void>>();

  async function statusOf({ spaceId, appId, tableName, recordId }: DocumentKey): Promise<string | null> {
    try {
      const params = [spaceId, appId, tableName, recordId, lockTimeoutMs];
      const [row] = await db.query<{ status: string | null }>(adoptSql, params);
      return row?.status ?? null;
    } catch (error) {
      if (isLockTimeout(error)) return "locked";
      throw error;
    }
  }

  async function adopt(key: DocumentKey, table: string): Promise<void> {
    const end = Date.now() + longestMs;
    for (let pause = firstLookMs; ; pause = Math.min(pause * 2, 100)) {
      const status = await statusOf(key);
      if (status === null) {
        if (others.size >= maxRemembered) others.clear();
        others.set(table, Date.now() + rememberedMs);
      }
      if (status === "missing") {
        throw new PerchError("PE404", `table ${key.tableName} has no such row in this space`, { ...key });
      }
      if (status === "refused") {
        const why = "perch doctor says what is wrong with it";
        throw new PerchError("PE422", `a document cannot hold what the columns of this row have; ${why}`, { ...key });
      }
      if (status !== "waiting" && status !== "locked") return;
      if (Date.now() > end) {
        const why =
          status === "locked"
            ? "a transaction has had the row locked for too long"
            : "no worker has merged what the columns of the row have; is one running?";
        // As a lock that is held for too long: whoever asked may ask again.
        throw Object.assign(new Error(why), { code: lockTimeoutCode });
      }
      await new Promise((done) => setTimeout(done, pause));
    }
  }

  return (key) => {
    const table = JSON.stringify([key.appId, key.tableName]);
    if ((others.get(table) ?? 0) > Date.now()) return Promise.resolve();
    const id = documentId(key);
    const before = underWay.get(id);
    if (before) return before;
    const adopting = adopt(key, table).finally(() => underWay.delete(id));
    underWay.set(id, adopting);
    return adopting;
  };
}
