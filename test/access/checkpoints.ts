/** What the matrix of functions and tables says of checkpoints. They belong to tenants: see the contexts in world.ts. */
import type { Transaction } from "../../src/database/types.js";
import type { FunctionEntry } from "./functions.js";
import type { TableEntry } from "./tables.js";

/** The id of the checkpoint of thread "run", by tenant: the same thread id in both. */
const ids = {
  acme: "01900000-0000-7000-8000-00000000000a",
  "other-inc": "01900000-0000-7000-8000-00000000000b",
} as const;
const graph = "1f0c0000-0000-6000-8000-000000000001";
const fresh = "01900000-0000-7000-8000-0000000000ff";

/** For each tenant a thread with a state and a log, one with a lease, and one of LangGraph with a value long enough for two pieces. */
export async function makeThreads(tx: Transaction): Promise<void> {
  for (const [tenant, id] of Object.entries(ids)) {
    await tx.query("select perch.set_tenant(tenant_id => $1)", [tenant]);
    await tx.query("select perch.put_checkpoint(thread_id => 'run', state => $1::jsonb, step => 1, id => $2)", [
      JSON.stringify({ of: tenant }),
      id,
    ]);
    await tx.query(`select perch.append_thread_events(thread_id => 'run', events => array['{"n": 1}'::jsonb])`);
    await tx.query("select perch.acquire_lease(thread_id => 'leased', holder => 'first', duration => '1 day')");
    await tx.query(
      `select perch.put_channels(tenant_id => null, thread_id => 'graph', namespace => '', id => $1, parent_id => null, step => 0,
              metadata => '{}', checkpoint => '{"v": 4, "channel_versions": {"said": 1}}', channels => '{said}', types => '{null}',
              starts => '{1}', sizes => array[octet_length($2)], payload => convert_to($2, 'UTF8'))`,
      [graph, JSON.stringify(["x".repeat(9000), "y".repeat(9000)])],
    );
    await tx.query(
      `select perch.put_writes(tenant_id => null, thread_id => 'graph', namespace => '', checkpoint_id => $1, task_id => 'task',
              idxs => '{0}', channels => '{said}', types => '{null}', starts => '{1}', sizes => '{1}', payload => '1')`,
      [graph],
    );
  }
}

const app = (call: string, bound: string): FunctionEntry => ({ callers: ["perch_app"], call, bound });
const piece = (...callers: FunctionEntry["callers"]): FunctionEntry => ({ callers, bound: "" });
const count = (call: string) => `(select count(*) from ${call})`;
const ofAcme = `thread_id => 'run', id => '${ids.acme}'`;
const token = "(select l.token from perch.thread_leases l where l.tenant_id = 'acme' and l.thread_id = 'leased')";

// A saver names its tenant in the call: whoever may call at all may also call perch.set_tenant.
const putChannels = (tenant: string) =>
  `perch.put_channels(tenant_id => ${tenant}, thread_id => 'graph', namespace => '', id => '${fresh}', parent_id => '${graph}', step => 1,
     metadata => '{}', checkpoint => '{}', channels => '{}', types => '{}', starts => '{}', sizes => '{}', payload => '')`;
const putWrites = (tenant: string) =>
  `perch.put_writes(tenant_id => ${tenant}, thread_id => 'graph', namespace => '', checkpoint_id => '${graph}', task_id => 'other',
     idxs => '{0}', channels => '{said}', types => '{null}', starts => '{1}', sizes => '{1}', payload => '1')`;

export const checkpointFunctions: Record<string, FunctionEntry> = {
  put_checkpoint: app(
    `perch.put_checkpoint(thread_id => 'run', state => '{}', step => 2) is not null`,
    "401 yes yes yes yes 401",
  ),
  "put_checkpoint: below one of acme's": app(
    `perch.put_checkpoint(thread_id => 'run', state => '{}', step => 2, parent_id => '${ids.acme}') is not null`,
    "401 404 yes yes yes 401",
  ),
  "put_checkpoint: with the id of acme's": app(
    `perch.put_checkpoint(thread_id => 'run', state => '{}', step => 2, id => '${ids.acme}') is not null`,
    "401 yes 409 409 409 401",
  ),
  "put_checkpoint: where acme has the head": app(
    `perch.put_checkpoint(thread_id => 'run', state => '{}', step => 2, expected_head => '${ids.acme}') is not null`,
    "401 409 yes yes yes 401",
  ),
  "put_checkpoint: with acme's lease": app(
    `perch.put_checkpoint(thread_id => 'leased', state => '{}', step => 2, fencing_token => coalesce(${token}, 0)) is not null`,
    "401 409 yes yes yes 401",
  ),
  latest_checkpoint: app(
    "(select state ->> 'of' from perch.latest_checkpoint(thread_id => 'run'))",
    "401 other-inc acme acme acme 401",
  ),
  get_checkpoint: app(count(`perch.get_checkpoint(${ofAcme})`), "401 0 1 1 1 401"),
  checkpoint_history: app(count("perch.checkpoint_history(thread_id => 'run')"), "401 1 1 1 1 401"),
  "checkpoint_history: before acme's": app(
    count(`perch.checkpoint_history(thread_id => 'run', before => '${ids.acme}')`),
    "401 404 0 0 0 401",
  ),
  update_checkpoint_state: app(
    `perch.update_checkpoint_state(thread_id => 'run', parent_id => '${ids.acme}', state => '{}') is not null`,
    "401 404 yes yes yes 401",
  ),
  fork_checkpoint: app(`perch.fork_checkpoint(${ofAcme}) is not null`, "401 404 yes yes yes 401"),
  delete_thread: app("perch.delete_thread(thread_id => 'run')", "401 1 1 1 1 401"),
  "delete_thread: on which somebody has a lease": app(
    "perch.delete_thread(thread_id => 'leased')",
    "401 409 409 409 409 401",
  ),
  prune_checkpoints: app("perch.prune_checkpoints(keep_last => 1)", "401 0 0 0 0 401"),
  put_channels: app(putChannels("null"), "401 ok ok ok ok 401"),
  "put_channels: for a tenant by name": app(putChannels("'acme'"), "ok"),
  put_writes: app(putWrites("null"), "401 ok ok ok ok 401"),
  "put_writes: for no tenant": app(putWrites("''"), "401"),
  load_channels: app(
    count("perch.load_channels(tenant_id => null, thread_id => 'graph', namespace => '')"),
    "401 3 3 3 3 401",
  ),
  "load_channels: of a state": app(
    count("perch.load_channels(tenant_id => null, thread_id => 'run', namespace => '')"),
    "401 422 422 422 422 401",
  ),
  list_channels: app(count("perch.list_channels()"), "401 3 3 3 3 401"),
  channel_history: app(
    count(`perch.channel_history(thread_id => 'graph', namespace => '', id => '${graph}', channels => '{said}')`),
    "401 0 0 0 0 401",
  ),
  append_thread_events: app(
    `perch.append_thread_events(thread_id => 'run', events => array['{}'::jsonb])`,
    "401 2 2 2 2 401",
  ),
  load_thread_events: app(count("perch.load_thread_events(thread_id => 'run')"), "401 1 1 1 1 401"),
  archive_thread_events: app(count("perch.archive_thread_events(thread_id => 'run', up_to => 1)"), "401 1 1 1 1 401"),
  thread_log: app("(select last_number from perch.thread_log(thread_id => 'run'))", "401 1 1 1 1 401"),
  acquire_lease: app(count("perch.acquire_lease(thread_id => 'leased', holder => 'second')"), "401 0 0 0 0 401"),
  renew_lease: app(
    `perch.renew_lease(thread_id => 'leased', token => ${token}) is not null`,
    "401 409 yes yes yes 401",
  ),
  release_lease: app(`perch.release_lease(thread_id => 'leased', token => ${token})`, "401 no yes yes yes 401"),
  assemble_state: piece("perch_app", "perch_worker"),
  assemble_json: piece("perch_app", "perch_worker"),
  as_jsonb: piece("perch_app", "perch_worker"),
  add_long_value: piece(),
  is_leased: piece(),
  lock_thread_rows: piece(),
  make_lease: piece(),
  require_no_lease: piece(),
  piece_hashes: piece(),
  add_pieces: piece(),
  channel_rows: piece(),
  find_checkpoint: piece(),
  head_after: piece(),
  check_checkpoint: piece(),
  check_count: piece(),
  check_duration: piece(),
  check_format: piece(),
  check_state_size: piece(),
  lock_thread: piece(),
  make_thread: piece(),
  next_token: piece(),
  prune_thread: piece(),
  doomed_checkpoints: piece(),
  require_lease: piece(),
  require_tenant: piece(),
  split_json: piece(),
  uuid_v7: piece(),
};

/** So many rows of each tenant, for who is of it; a new row in "acme" for who is of that. */
const ofTenant = (rows: number, app: TableEntry["app"], fresh: Record<string, unknown>): TableEntry => ({
  app,
  worker: "select",
  select: `0 ${rows} ${rows} ${rows} ${rows} 0`,
  insert: "x x 1 1 1 x",
  update: `0 0 ${rows} ${rows} ${rows} 0`,
  delete: `0 0 ${rows} ${rows} ${rows} 0`,
  fresh,
  where: "tenant_id = 'acme'",
});

export const checkpointTables: Record<string, TableEntry> = {
  threads: ofTenant(2, "select", { thread_id: "fresh", thread_no: 7 }),
  stored_checkpoints: ofTenant(2, "select", { id: fresh, seq: 99 }),
  checkpoint_values: ofTenant(2, "select", { no: 99 }),
  checkpoint_pieces: ofTenant(2, "select", { hash: fresh }),
  checkpoint_writes: ofTenant(1, "", { task_id: "fresh" }),
  thread_logs: ofTenant(1, "select", { thread_id: "fresh" }),
  thread_events: ofTenant(1, "select", { number: 99 }),
  thread_leases: ofTenant(3, "select", { thread_id: "fresh" }),
  checkpoints: { ...ofTenant(2, "select", {}), readOnly: true },
};
