/** What goes over the wire, as docs/http.md has it: the same names in requests, answers and here. */

/** Fields by name. A field may have any name, also `__proto__`: look at names with `Object.hasOwn`. */
export type Fields = Record<string, unknown>;

/** One change of a record or row. Only op, table and id are required. */
export interface Change<Content = Fields> {
  op: "insert" | "update" | "delete";
  table: string;
  id: string;
  data?: Content | null | undefined;
  /** When each field was written, where that is not `at`. */
  field_meta?: Record<string, string> | null | undefined;
  /** When the change was made; when `push` is called, where not given. */
  at?: string | null | undefined;
  /** Makes a repeat harmless: keep it with a change until there is a result. A new one where not given. */
  op_id?: string | null | undefined;
  /** The personal space, when not given. */
  space_id?: string | null | undefined;
  schema_version?: number | null | undefined;
  base_seq?: number | null | undefined;
  base_revision?: number | null | undefined;
  actor?: Fields | null | undefined;
  origin?: string | null | undefined;
}

/** A function of the app's that a push calls by name. */
export interface Call {
  op: "call";
  name: string;
  args?: Fields | null | undefined;
  op_id?: string | null | undefined;
}

export interface PushResult {
  op_id: string | null;
  status: "applied" | "replayed" | "rejected";
  space_id: string | null;
  /** The number of the change in the log of its space; null where it gets one later, and then `txid` says which transaction it was. */
  seq: number | null;
  revision?: number | null | undefined;
  txid?: string | undefined;
  /** What a call returned. */
  result?: unknown;
  /** Why it was rejected. */
  error?: { code: string; message: string; detail: unknown; hint?: string | undefined } | undefined;
}

/** Where a reader is: opaque JSON. Keep it and pass it back as it came; `{}` is the beginning. */
export type Cursor = Record<string, unknown>;

/** Of tables the fields that are wanted, and no other: `{ pages: ["title"] }`; of tables that are not named all. */
export type WantedFields = Readonly<Record<string, readonly string[]>>;

/** Why content is not there: it is longer than an answer may be, or an upgrade cannot lift it. */
export interface Withheld {
  reason: "too_large" | "upgrade_failed";
  bytes?: number | undefined;
  max?: number | undefined;
}

interface WithheldCounts {
  too_large: number;
  upgrade_failed: number;
}

export interface PulledChange<Content = Fields> {
  space_id: string;
  seq: number;
  op: "insert" | "update" | "delete";
  table: string;
  id: string;
  data: Content | null;
  field_meta: Record<string, string>;
  at: string;
  deleted_at: string | null;
  user_id: string | null;
  client_id: string | null;
  op_id: string | null;
  /** Changes with one txid were one transaction. */
  txid: string | null;
  schema_version: number;
  actor: Fields | null;
  origin: string | null;
  created_at: string;
  withheld?: Withheld | undefined;
}

export interface PullAnswer<Content = Fields> {
  changes: PulledChange<Content>[];
  cursor: Cursor;
  has_more: boolean;
  /** Spaces that the user may no longer read: drop what you hold of them. */
  revoked_space_ids: string[];
  unfinished?: { space_id: string; txid: string } | undefined;
  withheld?: WithheldCounts | undefined;
}

export interface SnapshotRecord<Content = Fields> {
  table: string;
  id: string;
  data: Content | null;
  field_meta: Record<string, string>;
  seq: number;
  inserted_at: string | null;
  deleted_at: string | null;
  schema_version: number;
  withheld?: Withheld | undefined;
}

export interface SnapshotAnswer<Content = Fields> {
  records: SnapshotRecord<Content>[];
  cursor: Cursor;
  /** What to pass as `after` for the next page; null after the last. */
  next: string | null;
  withheld?: WithheldCounts | undefined;
}

/** A space in which the log does not go on from a cursor. */
export interface LostSpace {
  space_id: string;
  reason: "expired" | "ahead" | "epoch";
  oldest_seq: number;
  latest_seq: number;
}

export type FollowEvent<Content = Fields> =
  /** What happened next. Keep `cursor` with what you made of the changes, in one transaction of yours. */
  | { type: "changes"; changes: PulledChange<Content>[]; revokedSpaceIds: string[]; cursor: Cursor; hasMore: boolean }
  /** The log does not go on from the cursor in these spaces: their snapshots follow, and replace what you hold of them. */
  | { type: "resync"; spaces: LostSpace[] }
  /** A page of a space's live records. `cursor` comes with the last page: only then is the snapshot whole. */
  | { type: "snapshot"; spaceId: string; records: SnapshotRecord<Content>[]; last: boolean; cursor: Cursor | null };

export type Role = "viewer" | "editor" | "owner";

export interface Space {
  space_id: string;
  role: Role;
  personal: boolean;
  /** Where the right comes from: the members of the space, or the token's own lists. */
  from: "members" | "token";
}

export interface SpaceDetails {
  space_id: string;
  members: { user_id: string; role: Role }[];
  /** Shown to owners only. */
  invitations: { invitation_id: string; role: Role; uses_left: number; created_by: string; expires_at: string }[];
  next: string | null;
}
