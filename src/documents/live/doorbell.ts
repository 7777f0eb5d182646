import type { Queryable } from "../../database/types.js";
import { type DocumentKey, documentId } from "../key.js";
import { keyColumns } from "./stored.js";

/** A document's position, as a ring tells of it. */
export interface Appended {
  readonly key: DocumentKey;
  readonly seq: number;
}

/** Rings for the appends of this process: at once while it is quiet, and for many together while it is busy. */
export interface Doorbell {
  /** A transaction sets out. Out: whether it is to ring itself, then say so by `rang`; if not, `owe` what it appended. */
  ringsItself(): boolean;
  /** A transaction that was to ring has ended. */
  rang(): void;
  /** These were, or may have been, committed without a ring. */
  owe(appended: readonly Appended[]): void;
  /** Rings for what is owed, if the database takes it. */
  close(): Promise<void>;
}

const ringSql = `
  select perch.ring_appends(space_ids => $1, app_ids => $2, table_names => $3, record_ids => $4, seqs => $5)`;

/** Between two rings: how late one may come while appends follow each other. */
const everyMs = 25;
/** After a ring that failed. */
const againMs = 1_000;

/**
 * A commit that rings takes a lock of the whole cluster until it is on disk, wakes every process that listens, and has each of them
 * read it; and who types is told of by the next ring as well as by each. So the first append in a while rings itself, in its own
 * transaction, and what follows within the next moment is rung for by one statement at its end.
 *
 * No wake-up is lost by that, only late: what is owed is kept here until the statement that rings for it has committed, which is after
 * the appends, so whoever reads then finds them. Should this process be killed before, or the database be away, other processes look
 * by their poll, as for any ring that is lost.
 */
export function createDoorbell(db: Queryable): Doorbell {
  let owed = new Map<string, Appended>();
  let rangAt = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | undefined;
  let ringing: Promise<void> | undefined;

  function arm(delayMs: number): void {
    timer ??= setTimeout(() => void ring(), delayMs);
    // A process that ends rings as it closes.
    timer.unref();
  }

  function ring(): Promise<void> {
    clearTimeout(timer);
    timer = undefined;
    ringing ??= send().finally(() => {
      ringing = undefined;
    });
    return ringing;
  }

  async function send(): Promise<void> {
    if (owed.size === 0) return;
    const sent = [...owed.values()];
    owed = new Map();
    try {
      await db.query(ringSql, [...keyColumns(sent), sent.map(({ seq }) => seq)], { prepare: true });
      rangAt = performance.now();
      if (owed.size > 0) arm(everyMs);
    } catch {
      // The appends met, or will meet, the same fault, which is reported there.
      for (const one of sent) keep(one);
      arm(againMs);
    }
  }

  function keep(appended: Appended): void {
    const id = documentId(appended.key);
    if ((owed.get(id)?.seq ?? 0) < appended.seq) owed.set(id, appended);
  }

  return {
    ringsItself() {
      return !ringing && owed.size === 0 && performance.now() - rangAt >= everyMs;
    },
    rang() {
      rangAt = performance.now();
    },
    owe(appended) {
      for (const one of appended) keep(one);
      if (!ringing) arm(Math.max(1, rangAt + everyMs - performance.now()));
    },
    async close() {
      await ringing;
      await ring();
      clearTimeout(timer);
      timer = undefined;
    },
  };
}
