import { checkpointFunctions } from "./checkpoints.js";
import { span } from "./world.js";

/**
 * What every function of schema perch does for everybody. A function without an entry here fails the test: add one, with what it
 * should do, not with what it does.
 *
 * Outcomes stand in the order of the contexts: none, other user, viewer, editor, owner, removed member; one outcome means the
 * same for all. `401` and the like are perch's errors, `-` a refused permission, other five characters an SQLSTATE; everything
 * else is the value (`ok` for void).
 */
export interface FunctionEntry {
  /** Who may execute it, besides superusers and members of perch_owner. */
  readonly callers: readonly ("perch_app" | "perch_worker")[];
  /** An SQL expression; undefined: only who may execute it is tried. */
  readonly call?: string;
  /** For perch_app, members of perch_owner and superusers, whom the policies bind alike. */
  readonly bound: string;
  /** For perch_worker, who sees everything; without it as `bound`. */
  readonly worker?: string;
  /** For superusers, where they see more than members of perch_owner: the function does not run as its owner. */
  readonly superuser?: string;
}

const app = (call: string, bound: string): FunctionEntry => ({ callers: ["perch_app"], call, bound });
const both = (call: string, bound: string): FunctionEntry => ({ callers: ["perch_app", "perch_worker"], call, bound });
/** What the worker does in every context; what a member of perch_owner, whom the policies bind, gets. */
const worker = (call: string, everywhere: string, bound: string): FunctionEntry => ({
  callers: ["perch_worker"],
  call,
  bound,
  worker: everywhere,
  superuser: everywhere,
});
/** For whoever migrates: members of perch_owner. */
const dba = (call: string, bound: string): FunctionEntry => ({ callers: [], call, bound });
/** A piece of other functions; what it does is theirs to test, that nobody else may call it is tried here. */
const piece = (...callers: FunctionEntry["callers"]): FunctionEntry => ({ callers, bound: "" });

const task = (space: string) =>
  `(select coalesce(r #>> '{results,0,error,code}', r #>> '{results,0,status}')
      from perch.push(app_id => 'todo', changes => '[{"op": "insert", "table": "tasks", "id": "new", "space_id": ${space}}]', client_id => 'c') r)`;
const page = "app_id => 'notes', table_name => 'pages', record_id => 'olga-in-team'";
const inTeam = `${page}, space_id => 'team'`;
const key = "'team', 'notes', 'pages', 'olga-in-team'";
const listed = (call: string) => `coalesce(nullif(array_to_string(${call}, ','), ''), 'nothing')`;

const count = (array: string) => `jsonb_array_length(${array})`;

const context: Record<string, FunctionEntry> = {
  set_context: both("perch.set_context(user_id => 'ann')", "ok"),
  set_tenant: app("perch.set_tenant(tenant_id => 'any')", "ok"),
  current_user_id: both("perch.current_user_id()", "null otto vera eddy olga rudi"),
  current_tenant_id: both("perch.current_tenant_id()", "null other-inc acme acme acme null"),
  current_space_ids: both(
    listed("perch.current_space_ids()"),
    "nothing elsewhere,~otto team,~vera team,~eddy team,~olga ~rudi",
  ),
  writable_space_ids: both(
    listed("perch.writable_space_ids()"),
    "nothing elsewhere,~otto ~vera team,~eddy team,~olga ~rudi",
  ),
  personal_space_id: both("perch.personal_space_id(user_id => 'ann')", "~ann"),
  check_id: piece("perch_worker"),
  error_word: piece("perch_worker"),
  fail: piece("perch_worker"),
  set_limit: dba("perch.set_limit('max_fields', 10)", "ok"),
  setting: piece("perch_worker"),
  limit_values: piece("perch_worker"),
  bake_limits: piece(),
  limits_changed: piece(),
  check_numbers: piece(),
  may_have_long_number: piece(),
  json_errors: app(
    "(select state from perch.json_errors(array['\"\\u0000\"']))",
    "22P05 22P05 22P05 22P05 22P05 22P05",
  ),
  database_figures: worker("(select pending > 0 from perch.database_figures(10))", "yes", "no yes yes yes yes no"),
  server_state: both("(select only_reads from perch.server_state())", "no"),
  age_ms: piece("perch_worker"),
  plain_numbers: piece(),
  require_space: piece(),
  require_user: piece(),
};

const spaces: Record<string, FunctionEntry> = {
  "create_space: one that is taken": app("perch.create_space(space_id => 'team')", "401 409 409 409 ok 409"),
  "create_space: a new one": app("perch.create_space(space_id => 'fresh')", "401 ok ok ok ok ok"),
  adopt_space: dba("perch.adopt_space(space_id => 'fresh', owner_id => 'ann')", "ok"),
  "adopt_space: one that has an owner": dba("perch.adopt_space(space_id => 'team', owner_id => 'ann')", "409"),
  "set_space_member: somebody": app(
    "perch.set_space_member(space_id => 'team', user_id => 'ann', role => 'editor')",
    "401 403 403 403 ok 403",
  ),
  "set_space_member: oneself": app(
    "perch.set_space_member(space_id => 'team', user_id => perch.current_user_id(), role => 'owner')",
    "401 403 403 403 ok 403",
  ),
  list_spaces: app("jsonb_array_length(perch.list_spaces() -> 'spaces')", "401 2 2 2 2 1"),
  read_space: app("jsonb_array_length(perch.read_space(space_id => 'team') -> 'invitations')", "401 403 0 0 1 403"),
  invite_to_space: app("length(perch.invite_to_space(space_id => 'team'))", "401 403 403 403 69 403"),
  revoke_invitation: app("perch.revoke_invitation(space_id => 'team')", "401 403 403 403 1 403"),
  "accept_invitation: by whoever has the secret": app(
    "perch.accept_invitation(invitation => repeat('0', 64) || '.team')",
    "401 team team team team team",
  ),
  "accept_invitation: with another secret": app(
    "perch.accept_invitation(invitation => repeat('1', 64) || '.team')",
    "401 404 404 404 404 404",
  ),
  invitation_id: piece(),
  is_invited: piece(),
  check_role: piece(),
  "remove_space_member: somebody": app(
    "perch.remove_space_member(space_id => 'team', user_id => 'nina')",
    "401 403 403 403 ok 403",
  ),
  "remove_space_member: oneself": app(
    "perch.remove_space_member(space_id => 'team', user_id => perch.current_user_id())",
    "401 403 ok ok 409 403",
  ),
  space_in_use: piece(),
  owns_space: both("perch.owns_space(space_id => 'team')", "no no no no yes no"),
  is_unowned_space_of_mine: both("perch.is_unowned_space_of_mine(space_id => 'team')", "no"),
  lock_members: piece(),
  require_owner: piece(),
  require_some_owner: piece(),
  notify_members: piece(),
};

const changes: Record<string, FunctionEntry> = {
  "push: to a space": app(task('"team"'), "401 PE403 PE403 applied applied PE403"),
  "push: at home": app(task("null"), "401 applied applied applied applied applied"),
  pull: app(count("perch.pull(app_id => 'todo') -> 'changes'"), "401 1 2 2 3 0"),
  pull_text: app(count("perch.pull_text(app_id => 'todo')::jsonb -> 'changes'"), "401 1 2 2 3 0"),
  "snapshot_text: of a space": app(
    count("perch.snapshot_text(app_id => 'todo', space_id => 'team')::jsonb -> 'records'"),
    "401 403 2 2 2 403",
  ),
  "snapshot_records: of a space": app(
    count("perch.snapshot_records(app_id => 'todo', space_id => 'team') -> 'records'"),
    "401 403 2 2 2 403",
  ),
  "snapshot_records: at home": app(count("perch.snapshot_records(app_id => 'todo') -> 'records'"), "401 0 0 0 1 0"),
  export_changes: app("(select count(*) from perch.export_changes())", "401 1 0 0 2 1"),
  restore_changes: app(
    `(select string_agg(status, ' ') from perch.restore_changes(lines => '[{"kind": "change", "op": "insert", "app_id": "todo", "table": "tasks",
        "id": "new", "space_id": "team", "seq": 99, "at": "2026-01-01T00:00:00Z", "data": {}, "schema_version": 1}]', from_user => 'nobody', from_epoch => ''))`,
    "401 rejected rejected applied applied rejected",
  ),
  present_lines: piece(),
  restored_changes: piece(),
  restored_fields: piece(),
  restored_pieces: piece(),
  current_epoch: app("perch.current_epoch() is not null", "yes"),
  exported_changes: app("(select count(*) from perch.exported_changes())", "401 1 0 0 2 1"),
  exported_documents: app("(select count(*) from perch.exported_documents())", "0 1 0 0 2 0"),
  exported_records: app("(select count(*) from perch.exported_records(max_bytes => 1000))", "0"),
  exported_tables: app("(select count(*) from perch.exported_tables())", "0 1 0 0 1 0"),
  stream_page: app(
    count("perch.stream_page('vera', null, null, 100000, 'todo', '{}', 10, null, null, null)::jsonb -> 'changes'"),
    "2",
  ),
  undeclared_tables: app(
    `(select count(*) from perch.undeclared_tables('[{"app_id": "todo", "table": "notes", "fields": {}}]'))`,
    "1",
  ),
  run_end: piece(),
  short_page: piece(),
  contents_as_text: app(`perch.contents_as_text(answer => '{"changes": []}', list => 'changes')`, '{"changes":[]}'),
  log_heads: worker("(select count(*) from perch.log_heads(space_ids => '{team}'))", "1", "1"),
  check_history: worker("coalesce(perch.check_history(), 'nothing')", "nothing", "nothing"),
  last_epoch: worker("(select count(*) from perch.last_epoch())", "0", "0"),
  server_identity: worker("perch.server_identity() ~ '^[0-9]+/[0-9A-F]{8}/[0-9]+$'", "yes", "yes"),
  begin_epoch: worker(
    "perch.begin_epoch(from_epoch => '', from_server => null, server => '', reason => null, lost => '{}')",
    "no",
    "no",
  ),
  upgrade_error: worker(
    `coalesce(perch.upgrade_error(change => '{"op": "insert", "data": {}}', app_id => 'todo', table_name => 'lists',
        from_version => 1, to_version => 1), 'none')`,
    "none",
    "none",
  ),
  entry_mark: piece("perch_worker"),
  try_upgrade: piece(),
  withheld: piece(),
  notify_deferred: worker("perch.notify_deferred()", "1", "0"),
  prune_changes: worker("perch.prune_changes(keep_for => '0', keep_last => 0)", "4", "0 1 0 0 2 0"),
  prune_space: piece("perch_worker"),
  new_epoch: dba("perch.new_epoch() is not null", "yes"),
  set_schema_version: dba(
    "perch.set_schema_version(app_id => 'todo', table_name => 'lists', current_version => 2)",
    "ok",
  ),
  register_upgrade: dba(
    "perch.register_upgrade(app_id => 'todo', table_name => 'lists', from_version => 2, upgrade => 'public.unchanged(jsonb)')",
    "ok",
  ),
  register_mutator: dba("perch.register_mutator('todo', 'echo', 'public.echo(jsonb)')", "ok"),
  "push: a call": app(
    `(select coalesce(r #>> '{results,0,error,code}', r #>> '{results,0,result,n}')
        from perch.push(app_id => 'todo', changes => '[{"op": "call", "name": "echo", "args": {"n": 7}}]', client_id => 'c') r)`,
    "401 7 7 7 7 7",
  ),
  "push: all or none": app(
    `(select (r #>> '{results,0,error,code}') || (r #>> '{results,1,error,code}')
        from perch.push(app_id => 'todo', client_id => 'c', atomic => true, changes => '[{"op": "insert", "table": "tasks", "id": "new"},
          {"op": "insert", "table": "tasks", "id": "new", "space_id": "nowhere"}]') r)`,
    "401 PE409PE403 PE409PE403 PE409PE403 PE409PE403 PE409PE403",
  ),
  aborted: piece(),
  call_mutator: piece(),
  call_refusal: piece(),
  mutator_fault: piece(),
  push_atomic: piece(),
  push_call: piece(),
  push_in_order: piece(),
  read_call: piece(),
  write_records: piece(),
  change_digest: piece(),
  check_changes: piece(),
  check_page_size: piece(),
  check_versions: piece(),
  clock_tolerance: piece(),
  is_datetime: piece(),
  is_time: piece(),
  upgrade_change: piece(),
  number_changes: piece("perch_worker"),
  push_many: piece(),
  check_push: piece(),
  read_ordinary: piece(),
  claim_changes: piece(),
  repeated_results: piece(),
  push_immediately: app(
    task('"team"').replace("perch.push(", "perch.push_immediately("),
    "401 PE403 PE403 applied applied PE403",
  ),
  write_changes: piece(),
  write_each: piece(),
  make_heads: piece("perch_worker"),
  log_document: piece("perch_worker"),
  next_ordinal: piece("perch_worker"),
  notify_unnumbered: piece("perch_worker"),
  take_records: piece(),
  log_written: piece(),
  entry_contents: piece(),
  capture_changes: piece(),
  applied: piece(),
  merge_changes: piece(),
  log_changes: piece(),
  push_documents: piece(),
  push_document: piece(),
  read_change: piece(),
  read_time: piece(),
  record_size: piece("perch_worker"),
  refusal: piece(),
  refuse_stamp: piece(),
  change_content: piece(),
  notify_changes: piece(),
  changes_notification: piece("perch_worker"),
  presence_notification: piece("perch_worker"),
  read_cursor: piece(),
  read_snapshot_place: piece(),
  snapshot_page: piece(),
  snapshot_position: piece(),
  stamp: piece(),
  tables_digest: piece(),
  time_changes: piece(),
  time_text: piece("perch_worker"),
};

const documents: Record<string, FunctionEntry> = {
  push_update: app(
    `perch.push_update(${inTeam}, update => decode('6c6f726f' || repeat('00', 18), 'hex')) > 0`,
    "401 403 403 yes yes 403",
  ),
  "patch_document: in a space": app(`perch.patch_document(${inTeam}, patch => '{}') > 0`, "401 403 403 yes yes 403"),
  "patch_document: at home": app(`perch.patch_document(${page}, patch => '{}') > 0`, "401 yes yes yes yes yes"),
  submit_patch: app(
    `(select seq > 0 and revision > 0 from perch.submit_patch(${inTeam}, patch => '{}'))`,
    "401 403 403 yes yes 403",
  ),
  delete_document: app(`perch.delete_document(${inTeam})`, "401 403 403 ok ok 403"),
  lock_document: app(`perch.lock_document(${inTeam})`, "401 403 403 ok ok 403"),
  "document_state: in a space": app(`(select head_seq from perch.document_state(${inTeam}))`, "401 403 4 4 4 403"),
  "document_state: at home": app(`(select head_seq from perch.document_state(${page}))`, "401 0 0 0 0 0"),
  require_no_records: piece(),
  declare_table: dba(
    `perch.declare_table(app_id => 'notes', table_name => 'more', fields => '{"title": "string"}')`,
    "ok",
  ),
  pending_updates: app("perch.pending_updates()", "401 1 0 0 2 0"),
  current_document: app(`(select seq from perch.current_document(${inTeam}))`, "401 403 4 4 4 403"),
  versions_page: app(
    `(select jsonb_array_length(perch.versions_page(${inTeam}, before => null, max_count => 9)::jsonb -> 'versions'))`,
    "401 403 2 2 2 403",
  ),
  document_versions: app(`(select count(*) from perch.document_versions(${inTeam}))`, "401 403 2 2 2 403"),
  "open_in_transaction: to read": app(
    "(select head_seq from perch.open_in_transaction('notes', 'pages', 'olga-in-team', 'team', false, '{}', '{}'))",
    "401 403 4 4 4 403",
  ),
  "open_in_transaction: to write": app(
    "(select is_there from perch.open_in_transaction('notes', 'pages', 'olga-in-team', 'team', true, '{}', '{}'))",
    "401 403 403 yes yes 403",
  ),
  write_document: {
    ...app(
      `perch.write_document('notes', 'pages', 'olga-in-team', 'team', 4, '\\x01', null, null, '{"title": "z"}', 10, true) > 0`,
      "42501",
    ),
    superuser: "403 403 403 yes yes 403",
  },
  append_updates: worker(
    `(select coalesce(error, 'ok') from perch.append_updates(space_ids => '{team}', app_ids => '{notes}', table_names => '{pages}',
        record_ids => '{olga-in-team}', after_seqs => '{4}', update_entries => '{1}', updates => '{x}', user_ids => '{eddy}',
        writable => '{null}', client_ids => '{null}'))`,
    "ok",
    "PE403 PE403 PE410 ok ok PE403",
  ),
  document_access: worker(
    "perch.document_access(user_id => 'vera', space_id => 'team')",
    "read",
    "null null read read read null",
  ),
  load_document: worker(`(select head_seq from perch.load_document(${key}))`, "4", "0 0 4 4 4 0"),
  open_document: worker(`(select head_seq from perch.open_document(${key}))`, "4", "0 0 4 4 4 0"),
  read_document: worker(`(select head_seq from perch.read_document(${key}, 0))`, "4", "0 0 4 4 4 0"),
  reading_position: worker(`(select head_seq from perch.reading_position(${key}, 0))`, "4", "0 0 4 4 4 0"),
  document_version: piece("perch_worker"),
  peer_authors: piece("perch_worker"),
  pending_documents: worker("(select count(*) from perch.pending_documents())", "5", "1 2 3 3 4 1"),
  claim_inbox: worker(`(select count(*) from perch.claim_inbox(${key}))`, "1", "0 0 1 1 1 0"),
  finish_inbox: worker(`perch.finish_inbox(${key}, 1, '\\x01', null)`, "5", "null null null 5 5 null"),
  discard_update: piece("perch_worker"),
  retry_update: piece("perch_worker"),
  project_document: worker(
    `(select logged_seq is not null from perch.project_document(${key}, 2, '{"title": "y"}', 10))`,
    "yes",
    "null null null 42501 yes null",
  ),
  is_long: piece("perch_worker"),
  record_size: piece("perch_worker"),
  fold_document: worker(`perch.fold_document(${key}, '\\x04', 4)`, "yes", "no no no yes yes no"),
  document_fields: worker("perch.document_fields('notes', 'pages') is not null", "yes", "yes"),
  enqueue_document: piece("perch_worker"),
  merge_ends: piece("perch_worker"),
  history_ranges: piece("perch_worker"),
  append_to_inbox: piece(),
  has_base: piece(),
  has_position: piece("perch_worker"),
  new_revision: piece("perch_worker"),
  position_gone: piece(),
  set_tail_aside: piece("perch_worker"),
  check_field_count: piece(),
  check_patch: piece(),
  claim_receipt: piece(),
  next_position: piece(),
  take_document_lock: piece("perch_worker"),
  missed_updates: piece("perch_worker"),
  readable_document: piece("perch_worker"),
  access_to_document: piece("perch_worker"),
  access_of_many: piece("perch_worker"),
  declared_since: piece("perch_worker"),
  encrypted_positions: piece("perch_worker"),
  spaces_of_users: piece("perch_worker"),
  append_to_tail: piece("perch_worker"),
  make_documents: piece("perch_worker"),
  lock_document_row: piece("perch_worker"),
  try_document_row: piece("perch_worker"),
  compare_record: piece("perch_worker"),
  show_record: piece("perch_worker"),
  long_data_of: piece("perch_worker"),
  is_fold_due: piece("perch_worker"),
  may_read: piece("perch_worker"),
  may_write: piece("perch_worker"),
  member_role: piece("perch_worker"),
  role_writes: piece("perch_worker"),
  revision_at: piece("perch_worker"),
  inbox_item: piece("perch_worker"),
  is_queued: piece("perch_worker"),
  claim_projections: piece("perch_worker"),
  is_overtaken: piece("perch_worker"),
  patch_base: piece("perch_worker"),
  version_at: piece("perch_worker"),
  others_wrote: piece("perch_worker"),
  notify_documents: piece(),
  document_notification: worker(
    "perch.document_notification('team', 'notes', 'pages', 'x', 1) is not null",
    "yes",
    "yes",
  ),
  notify_appends: worker(
    "perch.notify_appends(space_ids => '{team}', app_ids => '{notes}', table_names => '{pages}', record_ids => '{x}', seqs => '{1}') is null",
    "yes",
    "yes",
  ),
};

const tables: Record<string, FunctionEntry> = {
  sync_table: {
    callers: [],
    call: "perch.sync_table(relation => 'public.fresh', app_id => 'shop', space_id => 'team')",
    bound: "422",
    superuser: "ok",
  },
  unsync_table: {
    callers: [],
    call: "perch.unsync_table(relation => 'public.orders')",
    // It has none of the triggers, which the owner alone may take away.
    bound: "422",
    superuser: "ok",
  },
  sequence_changes: worker("perch.sequence_changes()", "1", "1"),
  promise_sequencing: worker("perch.promise_sequencing(serve_for => '1 second')", "ok", "ok"),
  adopt_row: worker("coalesce(perch.adopt_row('team', 'notes', 'pages', 'olga-in-team'), 'none')", "none", "none"),
  claim_pending: worker("(select count(*) from perch.claim_pending('team', 'shop', 'orders', '1'))", "1", "1"),
  claim_column_writes: worker(
    "(select count(*) from perch.claim_column_writes('team', 'shop', 'orders', '1'))",
    "1",
    "1",
  ),
  finish_column_write: worker(
    "coalesce(perch.finish_column_write('team', 'shop', 'orders', '1', 1, null, null, null), 0)",
    "0",
    "0",
  ),
  end_row_document: worker("perch.end_row_document('team', 'shop', 'orders', '1', 1)", "ok", "ok"),
  require_row_document: piece(),
  document_relation: piece("perch_worker"),
  ruled_documents: piece("perch_worker"),
  ruled_document_tables: piece("perch_worker"),
  documents_in_sight: piece("perch_worker"),
  is_document_in_sight: piece("perch_worker"),
  rows_with_documents_in_sight: piece(),
  require_in_sight: piece(),
  is_row_document: piece("perch_worker"),
  lock_row: piece("perch_worker"),
  write_columns: piece("perch_worker"),
  add_column_write: piece("perch_worker"),
  project_columns: piece("perch_worker"),
  end_document: piece("perch_worker"),
  row_columns: piece(),
  check_column_documents: piece(),
  note_column_writes: piece(),
  table_problems: worker("cardinality(perch.table_problems('public.orders')) > 0", "yes", "yes"),
  // Its triggers are not there, so it is none of the log.
  open_shape: app("perch.open_shape('public', 'orders') ->> 'app_id'", "401 404 404 404 404 404"),
  shape_rows: app("(perch.shape_rows('public', 'orders')).messages", "401 404 404 404 404 404"),
  shape_changes: app("(perch.shape_changes('public', 'orders', 0)).lsn", "401 404 404 404 404 404"),
  shape_news: worker("(select count(*) from perch.shape_news(0))", "1", "0 1 0 0 0 0"),
  shape_subset: app("(perch.shape_subset('public', 'orders')).messages", "401 404 404 404 404 404"),
  order_text: piece(),
  // Its triggers are the table's owner's to make.
  sync_for_development: {
    callers: [],
    call: "perch.sync_for_development('public', 'orders', 'team')",
    bound: "no",
    superuser: "no",
  },
  shape_matches: worker("perch.shape_matches('public', 'orders', 'shop', 'orders', 0, 0, '{}')", "404", "404"),
  filters_match: worker("perch.filters_match('public', 'orders', '{}', '{}')", "404", "404"),
  log_position: worker("perch.log_position() >= 0", "yes", "yes"),
  compared_key: piece(),
  filter_list: piece(),
  filter_sql: piece(),
  filter_text: piece(),
  filter_in_sight: piece(),
  filter_moved: piece(),
  filter_select: piece(),
  filter_selects: piece(),
  moved_messages: piece(),
  net_changes: piece(),
  row_message: piece(),
  rows_at: piece(),
  selected_table: piece(),
  shape_entries: piece(),
  shape_moves: piece(),
  shape_stretch: piece(),
  marked_last: piece(),
  never_fails: piece(),
  open_relation: piece(),
  require_history: piece(),
  shape_changes_query: piece(),
  shape_columns: piece(),
  shape_images: piece(),
  shape_space: piece(),
  shape_spaces: piece(),
  shape_texts: piece(),
  as_owner: piece(),
  canonical_expression: piece(),
  capture_row: piece(),
  capture_truncated: piece(),
  capture_statement: piece(),
  captured_by_key: piece(),
  changed_columns: piece(),
  check_sync_options: piece(),
  choose_captured: piece(),
  has_captured: piece(),
  late_statements: piece(),
  is_waiting: piece("perch_worker"),
  waits_from: piece("perch_worker"),
  drop_sync_triggers: piece(),
  allow_filter: piece(),
  columns_hidden_from: piece(),
  changes_in_sight: piece(),
  close_log: piece(),
  filter_problems: piece("perch_worker"),
  logs_with_rules: piece("perch_app", "perch_worker"),
  drop_row_filter: piece(),
  forget_synced_table: piece(),
  is_of_type: piece(),
  hidden_columns: piece(),
  key_columns: piece("perch_worker"),
  keep_with_held: piece(),
  line_up: piece(),
  lined_spaces: piece(),
  apply_rows: piece(),
  check_deferred: piece(),
  check_row: piece(),
  column_at_fault: piece(),
  decide_rows: piece(),
  find_rows: piece(),
  lock_rows: piece(),
  open_writing: piece(),
  push_rows: piece(),
  row_history: piece(),
  row_refusal: piece(),
  row_rejection: piece(),
  row_runs: piece(),
  space_of_rows: piece("perch_worker"),
  listed_columns: piece(),
  make_sync_triggers: piece(),
  mend_order: piece(),
  move_captured: piece(),
  make_row_filter: piece(),
  check_based_row: piece(),
  note_synced_table: piece(),
  number_captured: piece("perch_worker"),
  number_waiting: piece("perch_worker"),
  open_table: piece(),
  pin_settings: piece(),
  pull_page: piece(),
  renamed_space: piece("perch_worker"),
  place_nested: piece(),
  place_outer: piece(),
  notify_captured: piece("perch_worker"),
  row_id: piece(),
  row_key: piece(),
  roles_in: piece(),
  rows_in_sight: piece(),
  ruled_tables: piece(),
  rules_mark: piece(),
  every_rules_mark: piece("perch_worker"),
  synced_page: piece(),
  synced_rows: piece(),
  try_heads: piece(),
  try_space: piece(),
  unpin_settings: piece(),
  wait_for_head: piece(),
};

const diary = "'team', 'notes', 'diaries', 'd1'";
const encrypted: Record<string, FunctionEntry> = {
  declare_encrypted_table: dba("perch.declare_encrypted_table(app_id => 'notes', table_name => 'more')", "ok"),
  append_encrypted: worker(
    `(select coalesce(error, seq::text) from perch.append_encrypted(${diary}, ${span("eddy", 1)}))`,
    "2",
    "42501 42501 42501 2 2 42501",
  ),
  encrypted_state: worker(`(select head_seq from perch.encrypted_state(${diary}, '{}', '{}'))`, "1", "0 0 1 1 1 0"),
  encrypted_after: worker(
    `(select cardinality(records) from perch.encrypted_after(${diary}, after_seq => 0))`,
    "1",
    "0 0 1 1 1 0",
  ),
  delete_encrypted: piece(),
  require_encrypted_table: piece("perch_worker"),
  has_encrypted_position: piece("perch_worker"),
  advance_reach: piece("perch_worker"),
  covered_records: piece("perch_worker"),
  encrypted_refusal: piece("perch_worker"),
  exceeds_reach: piece("perch_worker"),
  has_encrypted_record: piece("perch_worker"),
};

const node = "'00000000-0000-4000-8000-000000000001'";
/** The one whose presence stands in the world; it has to be heard of again every half minute. */
const otherNode = "'00000000-0000-4000-8000-000000000002'";
const presence: Record<string, FunctionEntry> = {
  enter_presence: worker(
    `(select (select others from perch.enter_presence(${node})) from perch.enter_presence(${otherNode}))`,
    "yes",
    "42501",
  ),
  leave_presence: worker(`perch.leave_presence(${node})`, "null", "null"),
  presence_after: worker(
    `(select count(*) from perch.presence_after('00000000-0000-4000-8000-00000000000f', after_change => 0))`,
    "1",
    "0 0 1 1 1 0",
  ),
  presence_changes: worker(
    `(select count(n.change_id) from perch.presence_changes('00000000-0000-4000-8000-00000000000f', 0, '') n)`,
    "1",
    "0 0 0 0 0 0",
  ),
  presence_of: worker(`(select count(*) from perch.presence_of(${key}, kind => 'persisted'))`, "1", "0 0 1 1 1 0"),
  put_presence: worker(
    `perch.put_presence(${node}, '{team}', '{notes}', '{pages}', '{fresh}', '{ephemeral}', '{a}', '{a}', '{1}', '{1000}') > 0`,
    "yes",
    "42501",
  ),
};

/** Who has not entered the console is nobody there, whatever their rights and whoever the context names. */
const stranger = (call: string) => worker(call, "401", "401");
const record = "'team', 'todo', 'tasks', 'olga-in-team'";
const consoles: Record<string, FunctionEntry> = {
  enter_console: worker("perch.enter_console(user_id => 'ann', role => 'viewer')", "ok", "ok"),
  "enter_console: as something else": worker("perch.enter_console('ann', 'owner')", "403", "403"),
  require_console: piece("perch_worker"),
  console_page: piece("perch_worker"),
  console_preview: piece("perch_worker"),
  note_console_action: piece("perch_worker"),
  table_kind: piece("perch_worker"),
  console_overview: stranger("perch.console_overview()"),
  console_spaces: stranger("perch.console_spaces()"),
  console_space: stranger("perch.console_space('team')"),
  console_records: stranger("perch.console_records('team', 'todo', 'tasks')"),
  console_record: stranger(`perch.console_record(${record})`),
  console_log: stranger("perch.console_log(space_id => 'team')"),
  console_access: stranger("perch.console_access('vera', 'team')"),
  console_document: stranger(`perch.console_document(${key})`),
  console_set_aside: stranger("perch.console_set_aside()"),
  console_retry: stranger(`perch.console_retry(${key}, 1)`),
  console_discard: stranger(`perch.console_discard(${key}, 1)`),
  console_revert: stranger(`perch.console_revert(${key}, '{}', 1, 2)`),
  console_synced: stranger("perch.console_synced()"),
  console_threads: stranger("perch.console_threads()"),
  console_thread: stranger("perch.console_thread('acme', 'run-1')"),
  console_checkpoint: stranger("perch.console_checkpoint('acme', 'run-1', '00000000-0000-4000-8000-000000000001')"),
};

export const functions: Record<string, FunctionEntry> = {
  ...context,
  ...consoles,
  ...encrypted,
  ...presence,
  ...spaces,
  ...changes,
  ...documents,
  ...tables,
  ...checkpointFunctions,
};

/** Of each function the entries that try it. */
export function entriesOf(name: string): [string, FunctionEntry][] {
  return Object.entries(functions).filter(([title]) => title.split(":")[0] === name);
}
