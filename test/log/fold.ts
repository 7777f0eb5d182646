/** What the tests of the log do with perch/client's fold: take entries and snapshots in, and look at what a user would see. */
import { createReplica, isLive, type Replica } from "../../src/client/fold.js";
import type { PulledChange, SnapshotRecord } from "../../src/client/types.js";
import type { Entry, Snapshot } from "./support.js";

export { createReplica, type Replica };

export function fold(replica: Replica, changes: readonly Entry[]): void {
  replica.apply({
    type: "changes",
    changes: changes as PulledChange[],
    revokedSpaceIds: [],
    cursor: {},
    hasMore: false,
  });
}

/** In: a page of a snapshot; the last one completes it. */
export function load(replica: Replica, spaceId: string, { records, next, cursor }: Snapshot): void {
  replica.apply({ type: "snapshot", spaceId, records: records as SnapshotRecord[], last: next === null, cursor });
}

export function live(replica: Replica): Record<string, unknown> {
  return Object.fromEntries(
    [...replica.records.values()]
      .filter(isLive)
      .map(({ space_id, table, id, data }) => [`${space_id}/${table}/${id}`, data]),
  );
}
