import { randomUUID } from "node:crypto";
import { LoroDoc } from "loro-crdt";
import type { Database } from "../../src/database/types.js";
import { withContext } from "../../src/identity/context.js";
import type { Place } from "../demo/document.js";
import type { Random } from "./random.js";

/** A program that writes into the documents by plain SQL, from beside perch: it retries what has no answer, under the same op_id. */
export interface SqlWriter {
  /** Names of what was committed, by the id of the record. */
  readonly committed: ReadonlyMap<string, readonly string[]>;
  /** Of these, how many the database had already when they were tried again. */
  readonly retries: number;
  /** Begins nothing more; resolves when the last is committed. */
  stop(): Promise<void>;
}

const everyMs = 250;

export function startSqlWriter(db: Database, places: readonly Place[], user: string, random: Random): SqlWriter {
  const committed = new Map<string, string[]>(places.map(({ recordId }) => [recordId, []]));
  let stopped = false;
  let retries = 0;

  async function push(place: Place, name: string): Promise<void> {
    const doc = new LoroDoc();
    doc.getMap("marks").set(name, true);
    doc.getCounter("votes").increment(1);
    doc.commit();
    const update = doc.export({ mode: "update" });
    const opId = randomUUID();
    for (;;) {
      try {
        await withContext(db, { userId: user }, (tx) =>
          tx.query(
            `select perch.push_update(app_id => $1, table_name => $2, record_id => $3, update => $4, space_id => $5,
                                      op_id => $6)`,
            [place.appId, place.tableName, place.recordId, update, place.spaceId, opId],
          ),
        );
        return;
      } catch (error) {
        // perch's own codes are answers, and none of them is due here.
        if (String((error as { code?: unknown }).code).startsWith("PE")) throw error;
        retries += 1;
        await new Promise((done) => setTimeout(done, 100));
      }
    }
  }

  async function write(): Promise<void> {
    for (let count = 0; !stopped; count++) {
      const place = random.pick(places);
      const name = `${user}.${count}`;
      await push(place, name);
      committed.get(place.recordId)?.push(name);
      await new Promise((done) => setTimeout(done, everyMs));
    }
  }

  const writing = write();
  writing.catch(() => undefined);
  return {
    committed,
    get retries() {
      return retries;
    },
    stop() {
      stopped = true;
      return writing;
    },
  };
}
