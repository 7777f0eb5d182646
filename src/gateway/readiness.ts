import type { Logger } from "pino";
import type { Queryable } from "../database/types.js";

const timeoutMs = 2_000;

/**
 * Asks the database whether it answers, and was migrated. Out: what is wrong, for people; undefined when nothing is. Those who
 * ask at once share one question: however often a node is asked, one connection is kept busy by it.
 */
export function createReadiness(db: Queryable, log: Logger): () => Promise<string | undefined> {
  let asking: Promise<string | undefined> | undefined;

  async function ask(): Promise<string | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error("no answer in time")), timeoutMs);
    });
    try {
      await Promise.race([db.query("select from perch.document_tables limit 1"), late]);
      return undefined;
    } catch (error) {
      log.warn({ err: error }, "not ready: the database does not answer");
      return "the database does not answer";
    } finally {
      clearTimeout(timer);
    }
  }

  return () => {
    asking ??= ask().finally(() => {
      asking = undefined;
    });
    return asking;
  };
}
