import { type Collection, createTransaction, type PendingMutation } from "@tanstack/db";
import type { PushResult } from "../index.js";

// biome-ignore lint/suspicious/noExplicitAny: collections of rows of all kinds
export type AnyCollection = Collection<any, any, any, any, any>;

/** Resolves when the collections have seen what was pushed, or will not in time. */
export function echoOf(mutations: readonly PendingMutation[], results: readonly PushResult[]): Promise<unknown> {
  const all = [...new Set(mutations.map(({ collection }) => collection as AnyCollection))].flatMap((collection) => {
    const { seen, awaitTxId } = collection.utils as {
      seen?: (result: PushResult) => Promise<unknown>;
      awaitTxId?: (txid: number, timeoutMs: number) => Promise<unknown>;
    };
    return results.map((result) => {
      if (seen !== undefined) return seen(result);
      return awaitTxId === undefined || result.txid === undefined ? undefined : awaitTxId(Number(result.txid), echoMs);
    });
  });
  // One that did not come in time comes later, and is shown then.
  return Promise.allSettled(all);
}

/** For so long it is waited for. */
const echoMs = 30_000;

/**
 * What was found in storage is shown by a transaction of the library's, which ends with the push. So another one shows it until the
 * echo, in its place below all that was written since.
 */
export function keepShown(mutations: readonly PendingMutation[], createdAt: Date, until: Promise<unknown>): void {
  const shown = createTransaction({ autoCommit: false, mutationFn: async () => undefined });
  shown.applyMutations([...mutations]);
  shown.createdAt = createdAt;
  const touched = new Set(mutations.map(({ collection }) => collection as AnyCollection));
  for (const { _state } of touched) {
    _state.transactions.set(shown.id, shown);
    _state.recomputeOptimisticState(true);
  }
  void until.then(() => {
    if (shown.state === "pending") shown.setState("completed");
    for (const { _state } of touched) {
      _state.transactions.delete(shown.id);
      _state.recomputeOptimisticState(false);
    }
  });
}
