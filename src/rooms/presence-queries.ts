import type { Queryable } from "../database/types.js";
import { type DocumentKey, documentId } from "../documents/key.js";
import type { PresenceEntry } from "./presence-entries.js";

export type PresenceKind = "ephemeral" | "persisted";

/** A presence room, whichever node it is open on. */
export interface PresenceAddress {
  readonly key: DocumentKey;
  readonly kind: PresenceKind;
}

/** An entry that another node has put, or an earlier reader has left. */
export interface StoredEntry extends PresenceEntry {
  /** For how many milliseconds it still counts. */
  readonly keepMs: number;
  /** Whose key it is; null: nobody's yet. */
  readonly userId: string | null;
  /** Who brought it; null: not known. Of what is read: whose key it is. */
  readonly broughtBy: string | null;
  /** For how many milliseconds it is theirs alone, wherever they are. */
  readonly heldMs: number;
}

export interface PresenceItem {
  readonly room: PresenceAddress;
  readonly entry: StoredEntry;
}

interface EntryRow {
  entry_key: Uint8Array;
  entry: Uint8Array;
  set_at: number;
  keep_ms: number;
  user_id: string | null;
  held_ms: number;
}

interface ChangeRow extends EntryRow {
  head: number;
  server: string;
  change_id: number;
  space_id: string;
  app_id: string;
  table_name: string;
  record_id: string;
  kind: PresenceKind;
}

interface NoChangeRow {
  head: number;
  server: string;
  change_id: null;
}

/** Says that a node is there. Out: whether others are, and the last change_id. */
export async function enterPresence(db: Queryable, nodeId: string): Promise<{ others: boolean; head: number }> {
  const [row] = await db.query<{ others: boolean; change_id: number }>(
    "select others, change_id from perch.enter_presence(node_id => $1)",
    [nodeId],
  );
  return { others: row?.others === true, head: row?.change_id ?? 0 };
}

export async function leavePresence(db: Queryable, nodeId: string): Promise<void> {
  await db.query("select perch.leave_presence(node_id => $1)", [nodeId]);
}

/** What is stored of a room. */
export async function readPresence(db: Queryable, { key, kind }: PresenceAddress): Promise<StoredEntry[]> {
  const rows = await db.query<EntryRow>(
    "select * from perch.presence_of(space_id => $1, app_id => $2, table_name => $3, record_id => $4, kind => $5)",
    [key.spaceId, key.appId, key.tableName, key.recordId, kind],
  );
  return rows.map(entryOf);
}

/** Up to where changes are known, and which server told of them: see `perch.presence_changes`. */
export interface PresenceCursor {
  readonly seen: number;
  readonly server: string;
}

export interface PresenceChanges {
  /** What came for each room. */
  readonly rooms: Iterable<readonly [PresenceAddress, readonly StoredEntry[]]>;
  readonly cursor: PresenceCursor;
  /** Whether there may be more. */
  readonly more: boolean;
}

const changesSql = "select * from perch.presence_changes(node_id => $1, after_change => $2, server => $3)";

/** The cursor behind which there is nothing yet. */
export async function presenceCursor(db: Queryable, nodeId: string): Promise<PresenceCursor> {
  const [row] = await db.query<NoChangeRow>(changesSql, [nodeId, Number.MAX_SAFE_INTEGER, null]);
  if (row === undefined) throw new Error("perch.presence_changes returned no row");
  return { seen: row.head, server: row.server };
}

/** What other nodes have put since. */
export async function readPresenceChanges(
  db: Queryable,
  nodeId: string,
  after: PresenceCursor,
): Promise<PresenceChanges> {
  const rows = await db.query<ChangeRow | NoChangeRow>(changesSql, [nodeId, after.seen, after.server]);
  const changes = rows.filter((row) => row.change_id !== null);
  const last = changes.at(-1);
  const seen = last?.change_id ?? rows[0]?.head ?? after.seen;
  return {
    rooms: grouped(changes),
    cursor: { seen, server: rows[0]?.server ?? after.server },
    more: last !== undefined,
  };
}

const putSql = `
  select perch.put_presence(node_id => $1, space_ids => $2, app_ids => $3, table_names => $4, record_ids => $5, kinds => $6,
                            entry_keys => $7, entries => $8, set_ats => $9, keep_ms => $10, user_ids => $11,
                            max_user_bytes => $12, brought_by_ids => $13) as change_id`;

/** Stores entries in one transaction; of what is persisted each user keeps so many bytes, the newest. Out: its change_id. */
export async function putPresence(
  db: Queryable,
  nodeId: string,
  items: readonly PresenceItem[],
  maxUserBytes: number,
): Promise<number> {
  const [row] = await db.query<{ change_id: number }>(putSql, [
    nodeId,
    items.map(({ room }) => room.key.spaceId),
    items.map(({ room }) => room.key.appId),
    items.map(({ room }) => room.key.tableName),
    items.map(({ room }) => room.key.recordId),
    items.map(({ room }) => room.kind),
    items.map(({ entry }) => Buffer.from(entry.key, "latin1")),
    items.map(({ entry }) => entry.bytes),
    items.map(({ entry }) => safeInteger(entry.setAt)),
    items.map(({ entry }) => entry.keepMs),
    items.map(({ entry }) => entry.userId),
    maxUserBytes,
    items.map(({ entry }) => entry.broughtBy),
  ]);
  if (row === undefined) throw new Error("perch.put_presence returned no row");
  return row.change_id;
}

/** A client may claim any time; beyond this, numbers are not exact. */
function safeInteger(value: number): number {
  return Math.max(Number.MIN_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, Math.trunc(value)));
}

function entryOf({ entry_key, entry, set_at, keep_ms, user_id, held_ms }: EntryRow): StoredEntry {
  const key = Buffer.from(entry_key).toString("latin1");
  return { key, bytes: entry, setAt: set_at, keepMs: keep_ms, userId: user_id, broughtBy: user_id, heldMs: held_ms };
}

function grouped(changes: readonly ChangeRow[]): PresenceChanges["rooms"] {
  const rooms = new Map<string, [PresenceAddress, StoredEntry[]]>();
  for (const row of changes) {
    const key = { spaceId: row.space_id, appId: row.app_id, tableName: row.table_name, recordId: row.record_id };
    const id = row.kind + documentId(key);
    const room = rooms.get(id) ?? [{ key, kind: row.kind }, []];
    room[1].push(entryOf(row));
    rooms.set(id, room);
  }
  return rooms.values();
}
