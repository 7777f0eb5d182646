import type { Transaction } from "../../src/database/types.js";

/** Runs work that should fail, in a savepoint, so that the transaction goes on. Out: what it threw; undefined when it did not. */
export async function failureOf(tx: Transaction, work: (tx: Transaction) => Promise<unknown>): Promise<unknown> {
  await tx.query("savepoint attempt");
  try {
    await work(tx);
    return undefined;
  } catch (error) {
    return error;
  } finally {
    await tx.query("rollback to savepoint attempt");
  }
}
