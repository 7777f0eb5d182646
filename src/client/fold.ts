import { compareJsonb, compareText } from "./jsonb-order.js";
import type { Fields, FollowEvent, PulledChange, SnapshotRecord } from "./types.js";

/** A record as one who reads the log holds it: what a snapshot says of it, and which space it is in. */
export interface FoldedRecord extends SnapshotRecord<Fields> {
  space_id: string;
  data: Fields;
}

/** What the time in a stamp takes; behind it are a space and the client. */
const timeLength = "2026-01-01T10:00:00.000000Z".length;

const later = (a: string | null, b: string | null) => (a === null || (b !== null && b > a) ? b : a);

/**
 * What becomes of a record by a change that was pulled: the rule of the server, last writer wins field by field, as it stands above
 * perch.merge_changes. Pure. In: the record so far, undefined when there was none. Out: the record, deleted ones too (`isLive`).
 *
 * Each part is a maximum, of (stamp, value) for a field, of times for insertion and deletion, and a deletion drops what is not
 * later than itself. So the order of changes, and one that comes twice, make no difference.
 */
export function foldChange(record: FoldedRecord | undefined, change: PulledChange<Fields>): FoldedRecord {
  const { space_id, table, id, op, at, seq, schema_version } = change;
  const insertedAt = op === "insert" ? at : null;
  const deletedAt = later(record?.deleted_at ?? null, later(change.deleted_at, op === "delete" ? at : null));
  const fields = new Map<string, readonly [stamp: string, value: unknown]>();
  for (const [name, value] of Object.entries(record?.data ?? {}))
    fields.set(name, [record?.field_meta[name] ?? "", value]);
  for (const [name, value] of Object.entries(change.data ?? {})) {
    const stamp = stampOf(change, name);
    const before = fields.get(name);
    if (before === undefined || (compareText(stamp, before[0]) || compareJsonb(value, before[1])) > 0)
      fields.set(name, [stamp, value]);
  }
  const kept = [...fields].filter(([, [stamp]]) => deletedAt === null || stamp.slice(0, timeLength) > deletedAt);
  const withheld = change.withheld ?? record?.withheld;
  return {
    space_id,
    table,
    id,
    // Object.fromEntries makes fields of all names, `__proto__` too.
    data: Object.fromEntries(kept.map(([name, [, value]]) => [name, value])),
    field_meta: Object.fromEntries(kept.map(([name, [stamp]]) => [name, stamp])),
    seq: Math.max(record?.seq ?? 0, seq),
    inserted_at: later(record?.inserted_at ?? null, insertedAt),
    deleted_at: deletedAt,
    schema_version: Math.max(record?.schema_version ?? 0, schema_version),
    ...(withheld !== undefined && { withheld }),
  };
}

/** A time with a space in it says who wrote the field; one without was written by the change's client. */
function stampOf({ field_meta, at, client_id }: PulledChange<Fields>, name: string): string {
  const time = (Object.hasOwn(field_meta, name) ? field_meta[name] : undefined) ?? at;
  return time.includes(" ") ? time : `${time} ${client_id ?? ""}`;
}

/** Whether a user sees the record: it was not deleted, or inserted again later. */
export function isLive({ deleted_at, inserted_at }: FoldedRecord): boolean {
  return deleted_at === null || (inserted_at !== null && inserted_at > deleted_at);
}

/** What tells a record from all others of its app. */
export function recordKey({ space_id, table, id }: { space_id: string; table: string; id: string }): string {
  return JSON.stringify([space_id, table, id]);
}

/** The records that a reader holds, in memory. */
export interface Replica {
  /** By `recordKey`; deleted ones are among them, since what comes late has to find them. */
  readonly records: ReadonlyMap<string, FoldedRecord>;
  /**
   * Takes in an event of `follow`, or an answer of `pull` as one. Out: the keys of what may have changed. The pages of a snapshot replace
   * what is held of their space at once, with the last of them. Begun anew after its first page, a snapshot of yours (not `follow`'s) needs a `resync` event
   * before it.
   */
  apply(event: FollowEvent): Set<string>;
}

/** In: records that were kept from another time, if any. */
export function createReplica(kept: Iterable<FoldedRecord> = []): Replica {
  const records = new Map<string, FoldedRecord>();
  for (const record of kept) records.set(recordKey(record), record);
  let staged: FoldedRecord[] = [];

  function drop(spaces: ReadonlySet<string>): string[] {
    const gone = [...records].filter(([, record]) => spaces.has(record.space_id)).map(([key]) => key);
    for (const key of gone) records.delete(key);
    return gone;
  }

  function put(record: FoldedRecord): string {
    const key = recordKey(record);
    records.set(key, record);
    return key;
  }

  return {
    records,
    apply(event) {
      if (event.type === "resync") {
        staged = [];
        return new Set();
      }
      if (event.type === "changes") {
        const touched = new Set(drop(new Set(event.revokedSpaceIds)));
        for (const change of event.changes) touched.add(put(foldChange(records.get(recordKey(change)), change)));
        return touched;
      }
      const { spaceId: space_id, last } = event;
      // A snapshot that was begun anew, or another space's, leaves nothing of the one before.
      if (staged[0]?.space_id !== space_id) staged = [];
      staged.push(...event.records.map((record) => ({ ...record, data: record.data ?? {}, space_id })));
      if (!last) return new Set();
      const touched = new Set(drop(new Set([space_id])));
      for (const record of staged) touched.add(put(record));
      staged = [];
      return touched;
    },
  };
}
