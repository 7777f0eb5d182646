import { type Collection, createTransaction, type PendingMutation, type Transaction } from "@tanstack/db";
import type { PushResult } from "../index.js";
import { settledWithin } from "../waiting.js";

// biome-ignore lint/suspicious/noExplicitAny: collections of rows of all kinds
export type AnyCollection = Collection<any, any, any, any, any>;

/** Of a transaction among others, by which the library sorts them. */
export interface Place {
  readonly createdAt: Date;
  readonly sequenceNumber?: number | undefined;
}

/** For so long it is waited for. */
export const echoMs = 30_000;
/** For so long it is shown, where it is sure to come: a proxy may hold a stream back, or the network be gone. */
const shownMs = 3_600_000;

/**
 * The transaction as Electric's shapes name it: the low 32 bits of it, which is what TanStack's collections wait for. Undefined where the server does
 * not say it.
 */
export const txidOf = ({ txid }: PushResult): number | undefined =>
  txid === undefined ? undefined : Number(BigInt(txid) & 0xffffffffn);

/**
 * Resolves when the collections have seen what was pushed, or will not in time. What then still is to come stays shown until it has.
 * In: its place among all that is shown.
 */
export async function echoOf(
  mutations: readonly PendingMutation[],
  results: readonly PushResult[],
  place: Place,
): Promise<void> {
  const late: Promise<unknown>[] = [];
  const inTime = collectionsOf(mutations).flatMap((collection) => {
    const { seen, awaitTxId } = collection.utils as {
      seen?: (result: PushResult, timeoutMs: number) => Promise<boolean>;
      awaitTxId?: (txid: number, timeoutMs: number) => Promise<unknown>;
    };
    return results.map((result) => {
      const txid = txidOf(result);
      // One that a shape's filter leaves out never comes.
      if (seen === undefined) return txid === undefined ? undefined : awaitTxId?.(txid, echoMs);
      if (result.seq === null) return seen(result, echoMs);
      const shown = seen(result, shownMs);
      late.push(shown);
      return settledWithin(echoMs, shown);
    });
  });
  await Promise.allSettled(inTime);
  const pending = Symbol("pending");
  const settled = await Promise.all(late.map((each) => Promise.race([each, pending])));
  if (settled.includes(pending)) keepShown(mutations, place, Promise.allSettled(late));
}

const collectionsOf = (mutations: readonly PendingMutation[]): AnyCollection[] => [
  ...new Set(mutations.map(({ collection }) => collection as AnyCollection)),
];

/**
 * What was found in storage is shown by a transaction of the library's, which ends with the push. So another one shows it until the
 * echo, in its place below all that was written since.
 */
export function keepShown(
  mutations: readonly PendingMutation[],
  { createdAt, sequenceNumber }: Place,
  until: Promise<unknown>,
): void {
  const shown = createTransaction({ autoCommit: false, mutationFn: async () => undefined });
  shown.applyMutations([...mutations]);
  shown.createdAt = createdAt;
  if (sequenceNumber !== undefined) shown.sequenceNumber = sequenceNumber;
  standsAlone(shown);
  const touched = collectionsOf(mutations);
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

/**
 * Takes a transaction that shows what waits to be pushed, or was, off the library's list of those that are rolled back with another of the same record. It
 * goes on to be pending: while one is persisting, its collections show nothing that comes.
 */
export function standsAlone(transaction: Pick<Transaction, "state" | "setState">): void {
  transaction.setState("completed");
  transaction.state = "pending";
}
