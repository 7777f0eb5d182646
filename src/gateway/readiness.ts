import type { Logger } from "pino";
import type { Queryable } from "../database/types.js";

export interface Readiness {
  /** Asks whether the database answers, was migrated and takes writes. Out: what is wrong, for people; undefined when nothing is. */
  trouble(): Promise<string | undefined>;
  /** Something was committed. */
  wrote(): void;
  /** Something could not be committed; counts when the database is at fault. */
  writeFailed(error: unknown): void;
}

const timeoutMs = 2_000;

/** Full disk, out of memory or connections, failing devices, a server that only reads: reading may go on as if nothing were wrong. */
const takesNoWrites = /^(53...|58...|25006)$/;
/** Then nobody writes here any more, so nobody sees whether it works again: after this long it is tried. */
const distrustMs = 15_000;

const writeTroubles: Readonly<Record<string, string>> = {
  "53100": "its disk is full",
  "53200": "it is out of memory",
  "53300": "it has no connection left",
  "25006": "it only reads",
};

/** Those who ask at once share one question: however often a node is asked, one connection is kept busy by it. */
export function createReadiness(db: Queryable, log: Logger, now: () => number = Date.now): Readiness {
  let asking: Promise<string | undefined> | undefined;
  let failedAt = Number.NEGATIVE_INFINITY;
  let reason = "";

  async function ask(): Promise<string | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error("no answer in time")), timeoutMs);
    });
    try {
      // Fails also when nothing was migrated.
      const answer = db.query<{ only_reads: boolean }>(
        `select pg_is_in_recovery() or current_setting('transaction_read_only')::boolean as only_reads
           from (select count(*) from (select from perch.document_tables limit 1) t) c`,
      );
      const [row] = await Promise.race([answer, late]);
      return row?.only_reads === false ? undefined : "the database takes no writes: it only reads";
    } catch (error) {
      log.warn({ err: error }, "not ready: the database does not answer");
      return "the database does not answer";
    } finally {
      clearTimeout(timer);
    }
  }

  return {
    trouble() {
      if (now() - failedAt < distrustMs) return Promise.resolve(`the database takes no writes: ${reason}`);
      asking ??= ask().finally(() => {
        asking = undefined;
      });
      return asking;
    },
    wrote() {
      failedAt = Number.NEGATIVE_INFINITY;
    },
    writeFailed(error) {
      const { code } = (typeof error === "object" && error !== null ? error : {}) as { code?: unknown };
      if (typeof code !== "string" || !takesNoWrites.test(code)) return;
      failedAt = now();
      reason = writeTroubles[code] ?? `error ${code}`;
    },
  };
}
