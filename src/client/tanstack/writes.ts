import type { PendingMutation } from "@tanstack/db";
import { nextTime } from "../clock.js";
import type { PerchClient } from "../index.js";
import { echoMs, echoOf, txidOf } from "./echoes.js";
import { changeOf, type RowMutation, type RowSpec, rejectionOf } from "./rows.js";

/** What a handler is given by TanStack DB, as far as it is read. */
export interface HandlerParams {
  readonly transaction: {
    readonly mutations: readonly (RowMutation & { readonly mutationId: string })[];
    readonly createdAt?: Date;
    readonly sequenceNumber?: number;
  };
}

/** The transactions to be seen before what is shown optimistically goes, where the handler has no collection to ask. */
export interface Awaited {
  txid: number[];
  timeout: number;
}

export interface PerchWrites {
  onInsert(params: HandlerParams): Promise<Awaited | undefined>;
  onUpdate(params: HandlerParams): Promise<Awaited | undefined>;
  onDelete(params: HandlerParams): Promise<Awaited | undefined>;
}

/**
 * Handlers that write the rows of an Electric collection to a synced table: `electricCollectionOptions({ …, ...perchWrites(client, spec) })`. The
 * mutations of one TanStack transaction apply as a whole or not at all; what is refused is thrown as a PerchError, and rolled back on the device.
 */
export function perchWrites<Row extends object>(client: PerchClient, spec: RowSpec<Row>): PerchWrites {
  const write = async ({ transaction }: HandlerParams): Promise<Awaited | undefined> => {
    const place = { createdAt: transaction.createdAt ?? new Date(), sequenceNumber: transaction.sequenceNumber };
    // TanStack names each mutation once, so a push that is tried again is applied once.
    const changes = transaction.mutations.map((mutation) => changeOf(spec, mutation, mutation.mutationId, nextTime()));
    const { results } = await client.push({ appId: spec.appId, changes, atomic: true });
    const rejection = rejectionOf(results);
    if (rejection !== undefined) throw rejection;
    // What its filter leaves out never comes to the collection, and was written all the same: so it is waited for here, not there, where that is an error.
    const mutations = transaction.mutations as unknown as PendingMutation[];
    if (mutations.every(({ collection }) => "awaitTxId" in (collection?.utils ?? {}))) {
      await echoOf(mutations, results, place);
      return undefined;
    }
    const txid = [...new Set(results.map(txidOf).filter((each) => each !== undefined))];
    return txid.length === 0 ? undefined : { txid, timeout: echoMs };
  };
  return { onInsert: write, onUpdate: write, onDelete: write };
}
