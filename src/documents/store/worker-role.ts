import { lacksRight } from "../../database/errors.js";
import type { Transaction } from "../../database/types.js";

/** The error of a login that is no worker. */
export function needsBothRoles(cause: unknown): Error {
  return new Error("a DocumentStore needs a login with both roles: grant perch_app, perch_worker to it", { cause });
}

/**
 * Runs `work` with the rights of perch_worker, inside a transaction that goes on with its own role afterwards. Only who may decode
 * documents may write to their tails; so the login needs both roles.
 */
export async function asWorker<T>(tx: Transaction, work: () => Promise<T>): Promise<T> {
  const [before] = await tx
    .query<{ role: string }>("select current_setting('role') as role, set_config('role', 'perch_worker', true)")
    .catch((error: unknown) => {
      if (!lacksRight(error)) throw error;
      throw needsBothRoles(error);
    });
  const restore = () => tx.query("select set_config('role', $1, true)", [before?.role ?? "none"]);
  try {
    const result = await work();
    await restore();
    return result;
  } catch (error) {
    // After an error of the database the transaction takes no statement, and gives the role back when it, or the savepoint, ends.
    // Whatever else keeps this from working, it is the first error that counts.
    await restore().catch(() => undefined);
    throw error;
  }
}
