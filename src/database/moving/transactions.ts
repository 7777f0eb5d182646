import type { Database, Transaction } from "../types.js";
import { as } from "./ends.js";
import { settled } from "./rows.js";

/** The transactions of one run. */
export interface Ends {
  /** A transaction on the source. */
  read<T>(work: (tx: Transaction) => Promise<T>): Promise<T>;
  /** One on the target, of this run, whose triggers are silent: what they would do has been done at the source, and is moved. */
  write<T>(work: (tx: Transaction) => Promise<T>): Promise<T>;
  /** One on the target that only reads. */
  look<T>(work: (tx: Transaction) => Promise<T>): Promise<T>;
  /** One on the target whose triggers work. */
  declare<T>(work: (tx: Transaction) => Promise<T>): Promise<T>;
  readonly from: Database;
}

/** A transaction that reads, under the settings by which rows are written as text. */
export const settledRead = <T>(db: Database, work: (tx: Transaction) => Promise<T>): Promise<T> =>
  db.transaction(async (tx) => {
    await tx.script(settled);
    return work(tx);
  });

export function createEnds(from: Database, to: Database, run: string): Ends {
  return {
    from,
    read: (work) => settledRead(from, work),
    look: (work) => settledRead(to, work),
    write: (work) =>
      to.transaction(async (tx) => {
        await tx.script(`${settled}; set local session_replication_role = replica`);
        await as(tx, run);
        return work(tx);
      }),
    declare: (work) =>
      to.transaction(async (tx) => {
        await as(tx, run);
        return work(tx);
      }),
  };
}
