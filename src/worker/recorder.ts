import type { Queryable } from "../database/types.js";
import type { LiveDocument } from "../documents/live.js";
import { lockTimeoutMs } from "./settings.js";

/** What a document's record is to show. */
export interface Projection {
  readonly document: Pick<LiveDocument, "key" | "locked">;
  /** The position that it shows. */
  readonly seq: number;
  readonly json: string;
  /** Bytes of that. */
  readonly size: number;
}

export interface Recorded {
  /** What is behind the document's snapshot now. */
  readonly tail: { readonly count: number; readonly bytes: number };
}

/** Writes projections to records. */
export interface Recorder {
  /** Out: undefined when the document was deleted meanwhile. Errors: whatever the database says of this document. */
  record(projection: Projection): Promise<Recorded | undefined>;
}

interface Task {
  readonly projection: Projection;
  resolve(recorded: Recorded | undefined): void;
  reject(error: unknown): void;
}

interface Row {
  ordinal: number;
  tail_count: number;
  tail_bytes: number;
}

/** One transaction, whose documents are locked until it commits: so a part of those that wait, and each by itself while they are few. */
const share = 8;
const maxDocuments = 16;
const maxBytes = 2 ** 18;

const recordSql = `
  select ordinal, tail_count, tail_bytes
    from perch.project_documents(space_id => $1, app_ids => $2, table_names => $3, record_ids => $4, seqs => $5,
                                 datas => $6::text[]::jsonb[], sizes => $7, lock_timeout_ms => $8)`;

/**
 * Group commit, space by space: every projection takes the counter of its space, and with it its place in the log, until its commit. So
 * one transaction of a space is under way at a time, and what comes meanwhile goes in the next one. Where a transaction fails, each of
 * its documents is tried by itself, and whatever is wrong with one is its own. In: how many transactions at a time, of all spaces.
 */
export function createRecorder(db: Queryable, lanes: number): Recorder {
  const waiting = new Map<string, Task[]>();
  const busy = new Set<string>();
  let scheduled = false;

  /** What else arrives in this turn of the event loop comes along. */
  function wake(): void {
    if (scheduled) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      for (const spaceId of waiting.keys()) {
        if (busy.size >= lanes) break;
        if (!busy.has(spaceId)) void write(spaceId);
      }
    });
  }

  async function write(spaceId: string): Promise<void> {
    const tasks = take(spaceId);
    busy.add(spaceId);
    try {
      if (!(await attempt(tasks))) for (const task of tasks) await attempt([task]);
    } finally {
      busy.delete(spaceId);
      wake();
    }
  }

  function take(spaceId: string): Task[] {
    const all = waiting.get(spaceId) ?? [];
    const most = Math.min(maxDocuments, Math.ceil(all.length / share));
    let count = 0;
    let bytes = 0;
    for (const { projection } of all) {
      bytes += projection.size;
      if (count > 0 && (count === most || bytes > maxBytes)) break;
      count++;
    }
    // Whoever has had a turn is last in line for the next.
    waiting.delete(spaceId);
    if (count < all.length) waiting.set(spaceId, all.slice(count));
    return all.slice(0, count);
  }

  /** Out: false when each is to be tried by itself. */
  async function attempt(tasks: readonly Task[]): Promise<boolean> {
    const unlock = tasks.map(({ projection }) => projection.document.locked());
    try {
      const rows = await send(tasks.map(({ projection }) => projection));
      const recorded = new Map(rows.map((row) => [row.ordinal, row]));
      for (const [index, { resolve }] of tasks.entries()) {
        const row = recorded.get(index + 1);
        resolve(row && { tail: { count: row.tail_count, bytes: row.tail_bytes } });
      }
    } catch (error) {
      if (tasks.length > 1) return false;
      for (const { reject } of tasks) reject(error);
    } finally {
      for (const unlocked of unlock) unlocked();
    }
    return true;
  }

  function send(projections: readonly Projection[]): Promise<Row[]> {
    return db.query<Row>(recordSql, [
      projections[0]?.document.key.spaceId,
      projections.map(({ document }) => document.key.appId),
      projections.map(({ document }) => document.key.tableName),
      projections.map(({ document }) => document.key.recordId),
      projections.map(({ seq }) => seq),
      projections.map(({ json }) => json),
      projections.map(({ size }) => size),
      lockTimeoutMs,
    ]);
  }

  return {
    record(projection) {
      return new Promise((resolve, reject) => {
        const { spaceId } = projection.document.key;
        const tasks = waiting.get(spaceId) ?? [];
        tasks.push({ projection, resolve, reject });
        waiting.set(spaceId, tasks);
        wake();
      });
    },
  };
}
