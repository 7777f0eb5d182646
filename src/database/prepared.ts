import { createHash } from "node:crypto";
import type pg from "pg";

/** Statements that a connection keeps parsed and planned: what is left of a call then is the call. */
export interface PreparedStatements {
  /** The statement as the driver is to be given it. */
  config(sql: string, params: unknown[]): pg.QueryConfig;
  /**
   * Whether a statement failed only because it was prepared. Then it has done nothing, and works when it is tried again, though not in
   * the same transaction, which the error has ended.
   */
  isStale(error: unknown): boolean;
}

/** What Postgres answers when a migration has changed what a statement returns since it was prepared. */
const changed = { code: "0A000", routine: "RevalidateCachedQuery" };
/** There is no such statement, or there is one already: a proxy gives each transaction another connection than it seems. */
const notOurs = new Set(["26000", "42P05"]);

/**
 * A statement is named after its text: behind a proxy, one may meet what another process prepared under the same name. After an error of
 * the first kind all get new names, and the server forgets the old when their connection ends; after one of the second kind nothing is
 * prepared any more.
 */
export function createPreparedStatements(): PreparedStatements {
  const digests = new Map<string, string>();
  let generation = 0;
  let proxied = false;

  function nameOf(text: string): string {
    const digest = digests.get(text) ?? createHash("sha256").update(text).digest("hex").slice(0, 32);
    digests.set(text, digest);
    return `perch_${generation}_${digest}`;
  }

  return {
    config: (text, values) => (proxied ? { text, values } : { name: nameOf(text), text, values }),
    isStale(error) {
      const { code, routine } = (error ?? {}) as { code?: string; routine?: string };
      if (code === changed.code && routine === changed.routine) generation++;
      else if (code !== undefined && notOurs.has(code)) proxied = true;
      else return false;
      return true;
    },
  };
}
