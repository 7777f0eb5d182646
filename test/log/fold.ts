/**
 * What a client does with the log: the same rule as the server's, written down once more from the documentation of perch.pull.
 * Stamps ("time client", with nothing behind the space for no client) compare byte by byte; of equal stamps the greater value wins, in jsonb order.
 */
import type { Entry, Snapshot } from "./support.js";

interface Folded {
  fields: Map<string, { stamp: string; value: unknown }>;
  insertedAt: string | null;
  deletedAt: string | null;
}

export type Replica = Map<string, Folded>;

const later = (a: string | null, b: string | null) => (a === null ? b : b === null ? a : a > b ? a : b);
const compareBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b));

function rank(value: unknown): number {
  if (Array.isArray(value)) return value.length === 0 ? -1 : 4;
  if (value === null) return 0;
  return { string: 1, number: 2, boolean: 3 }[typeof value as "string"] ?? 5;
}

/** The order of jsonb, of scalars and of what the tests write. */
export function compareValues(a: unknown, b: unknown): number {
  if (rank(a) !== rank(b)) return rank(a) - rank(b);
  if (typeof a === "string") return compareBytes(a, b as string);
  if (typeof a === "number" || typeof a === "boolean") return Number(a) - Number(b);
  return 0;
}

function record(replica: Replica, key: string): Folded {
  let folded = replica.get(key);
  if (folded === undefined) {
    folded = { fields: new Map(), insertedAt: null, deletedAt: null };
    replica.set(key, folded);
  }
  return folded;
}

function write(folded: Folded, field: string, stamp: string, value: unknown): void {
  const present = folded.fields.get(field);
  const order = present === undefined ? 1 : compareBytes(stamp, present.stamp) || compareValues(value, present.value);
  if (order > 0) folded.fields.set(field, { stamp, value });
}

function drop(folded: Folded): void {
  for (const [field, { stamp }] of folded.fields) {
    if (folded.deletedAt !== null && stamp.slice(0, 27) <= folded.deletedAt) folded.fields.delete(field);
  }
}

export function fold(replica: Replica, entries: readonly Entry[]): void {
  for (const entry of entries) {
    const folded = record(replica, `${entry.space_id}/${entry.table}/${entry.id}`);
    folded.deletedAt = later(folded.deletedAt, entry.deleted_at);
    if (entry.op === "insert") folded.insertedAt = later(folded.insertedAt, entry.at);
    if (entry.op === "delete") folded.deletedAt = later(folded.deletedAt, entry.at);
    for (const [field, value] of Object.entries(entry.data ?? {})) {
      const time = entry.field_meta[field] ?? entry.at;
      const stamp = time.includes(" ") ? time : `${time} ${entry.client_id ?? ""}`;
      write(folded, field, stamp, value);
    }
    drop(folded);
  }
}

export function load(replica: Replica, space: string, snapshot: Snapshot): void {
  for (const row of snapshot.records) {
    const folded = record(replica, `${space}/${row.table}/${row.id}`);
    folded.insertedAt = row.inserted_at;
    folded.deletedAt = row.deleted_at;
    folded.fields = new Map(
      Object.entries(row.data ?? {}).map(([field, value]) => [field, { stamp: row.field_meta[field] ?? "", value }]),
    );
  }
}

/** What a user would see of it. */
export function live(replica: Replica): Record<string, unknown> {
  return Object.fromEntries(
    [...replica]
      .filter(([, { deletedAt, insertedAt }]) => deletedAt === null || (insertedAt !== null && insertedAt > deletedAt))
      .map(([key, { fields }]) => [key, Object.fromEntries([...fields].map(([field, { value }]) => [field, value]))]),
  );
}
