import { nextTime } from "../clock.js";
import type { PerchClient } from "../index.js";
import { changeOf, type RowMutation, type RowSpec, rejectionOf } from "./rows.js";

/** What a handler is given by TanStack DB, as far as it is read. */
export interface HandlerParams {
  readonly transaction: { readonly mutations: readonly (RowMutation & { readonly mutationId: string })[] };
}

/** The transactions to be seen before what is shown optimistically goes. */
export interface Awaited {
  txid: number[];
  timeout: number;
}

export interface PerchWrites {
  onInsert(params: HandlerParams): Promise<Awaited | undefined>;
  onUpdate(params: HandlerParams): Promise<Awaited | undefined>;
  onDelete(params: HandlerParams): Promise<Awaited | undefined>;
}

/** How long an Electric collection waits for the transaction to come by its shape. */
const echoMs = 30_000;

/**
 * Handlers that write the rows of an Electric collection to a synced table: `electricCollectionOptions({ …, ...perchWrites(client, spec) })`. The
 * mutations of one TanStack transaction apply as a whole or not at all; what is refused is thrown as a PerchError, and rolled back on the device.
 */
export function perchWrites<Row extends object>(client: PerchClient, spec: RowSpec<Row>): PerchWrites {
  const write = async ({ transaction }: HandlerParams): Promise<Awaited | undefined> => {
    // TanStack names each mutation once, so a push that is tried again is applied once.
    const changes = transaction.mutations.map((mutation) => changeOf(spec, mutation, mutation.mutationId, nextTime()));
    const { results } = await client.push({ appId: spec.appId, changes, atomic: true });
    const rejection = rejectionOf(results);
    if (rejection !== undefined) throw rejection;
    const txid = [...new Set(results.flatMap((result) => (result.txid === undefined ? [] : [Number(result.txid)])))];
    return txid.length === 0 ? undefined : { txid, timeout: echoMs };
  };
  return { onInsert: write, onUpdate: write, onDelete: write };
}
