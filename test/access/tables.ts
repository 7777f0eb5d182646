import { checkpointTables } from "./checkpoints.js";

/**
 * What everybody may do with every table and view of schema perch directly. One without an entry here fails the test: add it,
 * with what should be so, not with what is.
 *
 * Outcomes stand in the order of the contexts: none, other user, viewer, editor, owner, removed member; one outcome means the
 * same for all. A number: so many rows seen or changed; `x`: row level security refuses; `-`: no such privilege.
 *
 * They hold for members of perch_owner (what functions can do at most, whatever they forget to check) and, for SELECT, for
 * perch_app. Superusers who go to a table directly, past the functions, see all: that is what superusers are. So does
 * perch_worker, by its policies.
 */
export interface TableEntry {
  /** Direct privileges; perch_owner has all. */
  readonly app: "" | "select";
  readonly worker: "" | "select" | "insert" | "all";
  /** Every row that can be seen. */
  readonly select: string;
  /** The same for perch_app, where functions see more. */
  readonly selectAsApp?: string;
  /** A new row in the space "team" (or the tenant "acme", or else a new row), in one's own name. */
  readonly insert: string;
  /** The rows of "team" (`where`). */
  readonly update: string;
  readonly delete: string;
  /** How the row that INSERT tries differs from one that is there. */
  readonly fresh: Record<string, unknown>;
  /** The column that names the author. */
  readonly author?: string;
  /** Which rows UPDATE and DELETE try; those of "team" when not given. */
  readonly where?: string;
  /** What INSERT comes to for those whom no policy binds; one row when not given. */
  readonly insertForAll?: string;
  /** What INSERT comes to for whoever may use the schema, whatever their privileges. */
  readonly insertForAnybody?: string;
  /** A view through which nobody can change anything: only SELECT is tried. */
  readonly readOnly?: boolean;
}

const inTeam = { space_id: "team", record_id: "fresh" };
/** What belongs to a space: read by its members, written by editors and owners. */
const ofSpace = { insert: "x x x 1 1 x", fresh: inTeam } as const;
/** Belongs to the worker and to perch's functions alone. */
const inner = { app: "", worker: "all" } as const;
/** Nobody has a grant on it; perch's functions see all of it, whatever the context. */
const bookkeeping = { worker: "select", select: "1", insert: "1", update: "1", delete: "1" } as const;
/** Everybody reads it; who migrates changes it. */
const declared = { worker: "select", where: "true" } as const;

export const tables: Record<string, TableEntry> = {
  spaces: {
    app: "select",
    worker: "select",
    select: "0 1 1 1 1 0",
    insert: "x 1 1 1 1 1",
    update: "0 0 0 0 1 0",
    delete: "0 0 0 0 1 0",
    fresh: { space_id: "fresh" },
    author: "created_by",
  },
  space_members: {
    app: "select",
    worker: "select",
    select: "0 1 3 3 3 0",
    insert: "x x x x 1 x",
    update: "0 0 0 0 3 0",
    delete: "0 0 1 1 3 0",
    fresh: { space_id: "team", user_id: "ann", role: "viewer" },
  },
  space_invitations: {
    app: "",
    worker: "select",
    select: "0 0 0 0 1 0",
    insert: "x x x x 1 x",
    update: "0",
    delete: "0 0 0 0 1 0",
    fresh: { invitation_id: "f".repeat(64) },
  },
  sync_changes: {
    app: "select",
    worker: "all",
    select: "0 1 2 2 3 1",
    selectAsApp: "0 1 2 2 3 0",
    insert: "x x x 1 1 x",
    update: "0 0 0 0 1 0",
    delete: "0 0 0 0 1 0",
    fresh: { space_id: "team", seq: 99 },
    author: "user_id",
  },
  stored_records: {
    ...ofSpace,
    app: "select",
    worker: "all",
    select: "0 1 2 2 3 0",
    update: "0 0 0 2 2 0",
    delete: "0 0 0 2 2 0",
    author: "user_id",
  },
  push_receipts: {
    ...inner,
    select: "0 1 0 0 2 1",
    insert: "x x x x 1 x",
    update: "0 0 0 0 2 0",
    delete: "0 0 0 0 2 0",
    fresh: { space_id: "~olga", op_id: "fresh" },
    where: "space_id = '~olga'",
  },
  // Perch's own: what it counts is in the log, whose policies decide.
  space_heads: { ...inner, select: "3", insert: "1", update: "1", delete: "1", fresh: { space_id: "fresh" } },
  deferred_notifications: {
    ...inner,
    select: "0 0 1 1 1 0",
    insert: "1",
    update: "0",
    delete: "0",
    fresh: { seq: 99 },
  },
  notifier: {
    ...inner,
    select: "1",
    insert: "x",
    update: "0",
    delete: "0",
    fresh: {},
    insertForAll: "23505",
    where: "true",
  },
  synced_relations: {
    ...declared,
    app: "",
    select: "1",
    insert: "1",
    update: "1",
    delete: "1",
    fresh: { table_name: "fresh", relation: "public.fresh" },
  },
  synced_tables: {
    app: "",
    worker: "select",
    select: "1",
    insert: "-",
    update: "-",
    delete: "-",
    fresh: {},
    readOnly: true,
  },
  // What is captured and sequenced is nobody's to see before it is in the log.
  captured_changes: { ...inner, ...bookkeeping, worker: "all", where: "true", fresh: { ordinal: 99 } },
  row_images: { ...inner, ...bookkeeping, worker: "all", fresh: { seq: 99 } },
  row_stamps: { ...inner, ...bookkeeping, fresh: inTeam },
  row_documents: { ...inner, ...bookkeeping, worker: "all", fresh: inTeam },
  column_writes: { ...inner, ...bookkeeping, worker: "all", fresh: { ordinal: 99 } },
  begun_epochs: { ...inner, ...bookkeeping, fresh: { epoch: "00000000-0000-4000-8000-0000000000ff" } },
  closed_logs: { ...inner, ...bookkeeping, fresh: { table_name: "fresh" } },
  readers: {
    ...inner,
    ...bookkeeping,
    select: "2",
    update: "2",
    delete: "2",
    where: "true",
    fresh: { reader: "fresh" },
  },
  commit_order: { ...inner, ...bookkeeping, fresh: { ordinal: 99 } },
  sequencer: {
    ...inner,
    ...bookkeeping,
    insert: "23505",
    fresh: {},
    insertForAll: "23505",
    where: "true",
  },
  encrypted_tables: {
    ...declared,
    app: "select",
    select: "1",
    insert: "1",
    update: "0",
    delete: "0",
    fresh: { table_name: "fresh" },
  },
  encrypted_documents: {
    ...ofSpace,
    app: "select",
    worker: "all",
    select: "0 0 1 1 1 0",
    update: "0 0 0 1 1 0",
    delete: "0 0 0 1 1 0",
  },
  encrypted_records: {
    ...ofSpace,
    app: "select",
    worker: "all",
    select: "0 0 1 1 1 0",
    update: "0 0 0 1 1 0",
    delete: "0 0 0 1 1 0",
  },
  encrypted_reaches: { ...ofSpace, ...inner, select: "0 0 1 1 1 0", update: "0 0 0 1 1 0", delete: "0 0 0 1 1 0" },
  // Of the gateway, which has authorised whoever it shows them to.
  presence: {
    ...inner,
    select: "0 0 1 1 1 0",
    insert: "x",
    update: "0",
    delete: "0",
    fresh: inTeam,
    insertForAll: "1",
  },
  presence_head: {
    ...inner,
    select: "0",
    insert: "x",
    update: "0",
    delete: "0",
    fresh: {},
    insertForAll: "23505",
    where: "true",
  },
  presence_nodes: {
    ...inner,
    select: "0",
    insert: "x",
    update: "0",
    delete: "0",
    fresh: { node_id: "00000000-0000-4000-8000-00000000000f" },
    where: "true",
  },
  // Added to by the console, and never changed.
  console_actions: {
    app: "",
    worker: "insert",
    select: "0",
    insert: "x",
    update: "0",
    delete: "0",
    fresh: { number: 99 },
    where: "true",
  },
  schema_versions: {
    ...declared,
    app: "",
    select: "1",
    insert: "1",
    update: "1",
    delete: "0",
    fresh: { app_id: "fresh" },
  },
  schema_upgrades: {
    ...declared,
    app: "",
    select: "1",
    insert: "1",
    update: "1",
    delete: "0",
    fresh: { app_id: "fresh" },
  },
  log_epoch: {
    ...declared,
    app: "select",
    select: "1",
    insert: "x",
    update: "1",
    delete: "0",
    fresh: {},
    // One row, and no second.
    insertForAll: "23505",
  },
  documents: {
    ...ofSpace,
    app: "select",
    worker: "all",
    select: "0 1 2 2 3 0",
    update: "0 0 0 2 2 0",
    delete: "0 0 0 2 2 0",
  },
  document_tombstones: { ...ofSpace, ...inner, select: "0 1 2 2 3 0", update: "0 0 0 2 2 0", delete: "0 0 0 2 2 0" },
  document_snapshots: { ...ofSpace, ...inner, select: "0 1 2 2 3 0", update: "0 0 0 2 2 0", delete: "0 0 0 2 2 0" },
  document_history: {
    ...ofSpace,
    ...inner,
    select: "0 1 2 2 3 0",
    update: "0 0 0 2 2 0",
    delete: "0 0 0 2 2 0",
    author: "user_id",
  },
  document_updates: { ...ofSpace, ...inner, select: "0 2 4 4 6 0", update: "0 0 0 4 4 0", delete: "0 0 0 4 4 0" },
  document_inbox: {
    ...ofSpace,
    ...inner,
    select: "0 1 2 2 3 0",
    update: "0 0 0 0 1 0",
    delete: "0 0 0 2 2 0",
    author: "user_id",
  },
  document_queue: { ...ofSpace, ...inner, select: "0 1 0 2 3 0", update: "0 0 0 2 2 0", delete: "0 0 0 2 2 0" },
  // Whoever holds a row has locked a document: perch's functions decide who may.
  document_locks: { ...inner, select: "1", insert: "1", update: "1", delete: "1", fresh: inTeam },
  limits: {
    ...declared,
    app: "",
    select: "1",
    insert: "1",
    update: "1",
    delete: "1",
    fresh: { name: "max_fields" },
  },
  mutators: {
    ...declared,
    app: "",
    select: "1",
    insert: "1",
    update: "1",
    delete: "1",
    fresh: { name: "fresh" },
  },
  // What perch itself knows: only migrations change it.
  field_kinds: {
    ...declared,
    app: "",
    select: "12",
    insert: "x",
    update: "0",
    delete: "0",
    fresh: { kind: "fresh" },
  },
  document_tables: {
    ...declared,
    app: "select",
    select: "1",
    insert: "1",
    update: "1",
    delete: "1",
    fresh: { table_name: "fresh" },
  },
  migrations: { ...declared, app: "", select: "all", insert: "1", update: "all", delete: "all", fresh: { id: 999 } },
  applied_release: {
    ...declared,
    app: "",
    select: "all",
    insert: "23505",
    insertForAll: "23505",
    update: "all",
    delete: "all",
    fresh: {},
  },
  applied_sql: {
    ...declared,
    app: "",
    select: "all",
    insert: "1",
    update: "all",
    delete: "all",
    fresh: { path: "fresh" },
  },
  records: {
    app: "select",
    worker: "select",
    select: "0 1 2 2 3 0",
    // The view has put data together: nobody inserts into it, and Postgres says so before it looks at privileges.
    insert: "0A000",
    insertForAnybody: "0A000",
    update: "0 0 0 2 2 0",
    delete: "0 0 0 2 2 0",
    fresh: inTeam,
  },
  ...checkpointTables,
};
