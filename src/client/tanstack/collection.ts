import type { CollectionConfig, PendingMutation, SyncConfig } from "@tanstack/db";
import { nextTime } from "../clock.js";
import { type FoldedRecord, isLive, type PerchClient, type PushResult } from "../index.js";
import { echoOf } from "./echoes.js";
import { changeOf, type RowSpec, rejectionOf } from "./rows.js";
import { type AppSync, syncOf } from "./sync.js";
import type { HandlerParams } from "./writes.js";

/** A record as a row: its fields, its id, and the space it is in. */
export type RecordRow<Content extends object> = Content & { id: string; space_id: string };

export interface RecordCollectionOptions {
  /** Of the collection; made of app, table and space when not given. */
  id?: string;
  appId: string;
  /** The table of records; of a synced table, too, where the log suffices (shapes can filter it). */
  table: string;
  /** Only the records of this space, by their ids. Without it those of all spaces of the user, by `recordRowKey`. */
  spaceId?: string;
}

// A type, and no interface, since TanStack wants one with an index.
export type RecordUtils = {
  /** Resolves when what a push did is in the collection; false when it did not come in time. */
  seen(result: PushResult, timeoutMs?: number): Promise<boolean>;
  /** The stream that the collection is fed from. */
  readonly sync: AppSync;
};

/** The key of a row among those of many spaces, in which two records may have one id. */
export const recordRowKey = ({ space_id, id }: { space_id: string; id: string }): string =>
  JSON.stringify([space_id, id]);

/**
 * Options for `createCollection` over the records of a table: filled by snapshots, kept up to date by the stream of the log, which all
 * collections of a client and an app share. What the user writes shows at once, and until its echo has come by the stream: there is no frame
 * in which it is gone. What the server refuses is rolled back, and thrown as a PerchError by the transaction.
 */
export function perchCollectionOptions<Content extends object = Record<string, unknown>>(
  client: PerchClient,
  { id, appId, table, spaceId }: RecordCollectionOptions,
): CollectionConfig<RecordRow<Content>, string, never, RecordUtils> & { utils: RecordUtils } {
  type Row = RecordRow<Content>;
  const sync = syncOf(client, appId);
  const getKey = (row: Row) => (spaceId === undefined ? recordRowKey(row) : row.id);
  const spec = recordSpec<Row>({ appId, table, spaceId });

  const write = async ({ transaction }: HandlerParams): Promise<void> => {
    const place = { createdAt: transaction.createdAt ?? new Date(), sequenceNumber: transaction.sequenceNumber };
    const changes = transaction.mutations.map((mutation) => changeOf(spec, mutation, mutation.mutationId, nextTime()));
    const { results } = await client.push({ appId, changes, atomic: true });
    const rejection = rejectionOf(results);
    if (rejection !== undefined) throw rejection;
    await echoOf(transaction.mutations as unknown as PendingMutation[], results, place);
  };

  const feed: SyncConfig<Row, string>["sync"] = ({ begin, write: put, commit, markReady, markError }) => {
    const shown = new Set<string>();
    return sync.subscribe({
      changed(records) {
        begin();
        for (const record of records.values()) show(record);
        // What was dropped with its space has no record that could say its key.
        for (const [key, record] of records) if (record === undefined) hide(key);
        commit();
      },
      ready: markReady,
      failed: (error) => markError(error),
    });

    function show(record: FoldedRecord | undefined): void {
      if (record?.table !== table || (spaceId !== undefined && record.space_id !== spaceId)) return;
      const row = rowOf<Content>(record);
      const key = getKey(row);
      if (!isLive(record)) {
        if (shown.delete(key)) put({ type: "delete", key });
        return;
      }
      put({ type: shown.has(key) ? "update" : "insert", value: row });
      shown.add(key);
    }

    function hide(recordKey: string): void {
      const [space, ofTable, recordId] = JSON.parse(recordKey) as [string, string, string];
      if (ofTable !== table || (spaceId !== undefined && space !== spaceId)) return;
      const key = spaceId === undefined ? recordRowKey({ space_id: space, id: recordId }) : recordId;
      if (shown.delete(key)) put({ type: "delete", key });
    }
  };

  return {
    id: id ?? ["perch", appId, table, ...(spaceId === undefined ? [] : [spaceId])].join("/"),
    getKey,
    sync: { sync: feed, rowUpdateMode: "full" },
    onInsert: write,
    onUpdate: write,
    onDelete: write,
    utils: { seen: (result, timeoutMs) => sync.seen(result, timeoutMs), sync },
  };
}

/** How the rows of such a collection are pushed. */
export function recordSpec<Row extends object>({
  appId,
  table,
  spaceId,
}: Pick<RecordCollectionOptions, "appId" | "table" | "spaceId">): RowSpec<Row> {
  const spaceOf = (row: { space_id?: string }) => spaceId ?? row.space_id ?? null;
  const [key, apart] = ["id", "space_id"] as (keyof Row & string)[];
  return {
    appId,
    table,
    key,
    space: spaceOf as (row: Row) => string | null,
    without: apart === undefined ? [] : [apart],
  };
}

function rowOf<Content extends object>({ data, id, space_id }: FoldedRecord): RecordRow<Content> {
  return { ...data, id, space_id } as RecordRow<Content>;
}
