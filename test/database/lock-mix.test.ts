/**
 * Every function of the API against every other, at random, with workers at work: Postgres counts no deadlock, wherever the order of locks
 * (docs/architecture.md) promises none: calls in transactions of their own; transactions of several calls in that order; and
 * transactions in any order against workers alone.
 */
import { beforeAll, describe, expect, it } from "vitest";
import type { Database, Transaction } from "../../src/database/types.js";
import { DocumentStore } from "../../src/documents/store/store.js";
import { withContext } from "../../src/index.js";
import { connect, declare, eventually, keyOf } from "../documents/live/support.js";
import { postgres, type TestDatabase } from "../support/databases.js";
import { replica, startWorkerNode } from "../worker/support.js";

/** PERCH_MIX_MS for a longer look. */
const runMs = Number(process.env.PERCH_MIX_MS ?? 5_000);
const spaces = ["crew", "team"];
const users = ["ada", "ben", "cyd"];
const documents = ["a", "b", "c", "d"];
const threads = ["run-1", "run-2"];

const pick = <T>(values: readonly T[]): T => values[Math.floor(Math.random() * values.length)] as T;
const some = <T>(values: readonly T[]): T[] =>
  Array.from({ length: 1 + Math.floor(Math.random() * 4) }, () => pick(values));
const opId = () => `op-${Math.floor(Math.random() * 40)}`;

/** Where a transaction is at work: which spaces, and whose threads. */
interface Place {
  readonly spaces: readonly (string | null)[];
  readonly tenant: string;
}
type Call = (tx: Transaction, place: Place) => Promise<unknown>;

/** Documents in a column of a synced table, cards, among them. */
const page = (space: string | null, id = pick(documents), table = pick(["pages", "pages", "cards"])) => [
  "notes",
  table,
  id,
  space,
];
const named = "app_id => $1, table_name => $2, record_id => $3, space_id => $4";
const onPage =
  (sql: string): Call =>
  (tx, place) =>
    tx.query(sql, page(pick(place.spaces)));
const plain =
  (sql: string): Call =>
  (tx) =>
    tx.query(sql);
const onThread =
  (sql: string): Call =>
  (tx) =>
    tx.query(sql, [pick(threads)]);

function change(space: string | null, id = pick(documents)): object {
  const op = pick(["insert", "update", "update", "delete"]);
  return {
    op,
    table: pick(["pages", "pages", "tasks", "cards"]),
    id,
    ...(op !== "delete" && { data: { title: pick(["x", "y"]) } }),
    ...(op === "update" && Math.random() < 0.2 && { base_seq: 1 }),
    ...(space !== null && { space_id: space }),
    ...(Math.random() < 0.3 && { op_id: opId() }),
  };
}

const push = (tx: Transaction, changes: object[]) =>
  tx.query("select perch.push(app_id => 'notes', client_id => 'c', changes => $1::jsonb)", [JSON.stringify(changes)]);

const long = (letter: string) => JSON.stringify(letter.repeat(900));

function written(): { names: string[]; starts: number[]; sizes: number[]; payload: Buffer } {
  const values = some(["a", "b", "c"]).map((letter) => Buffer.from(long(letter)));
  let next = 1;
  const starts = values.map(({ length }) => {
    next += length;
    return next - length;
  });
  return {
    names: values.map((_, n) => `c${n}`),
    starts,
    sizes: values.map(({ length }) => length),
    payload: Buffer.concat(values),
  };
}

const invitations: string[] = [];

/** By the function that is called. Errors of perch's own are as good an outcome as any. */
const calls: Record<string, Call> = {
  push: (tx, place) =>
    push(
      tx,
      some(place.spaces).map((space) => change(space)),
    ),
  pull: plain("select perch.pull(app_id => 'notes')"),
  snapshot_records: (tx, place) =>
    tx.query("select perch.snapshot_records(app_id => 'notes', space_id => $1)", [pick(place.spaces)]),
  export_changes: plain("select count(*) from perch.export_changes()"),
  push_update: (tx, place) =>
    tx.query(`select perch.push_update(${named}, update => $5)`, [...page(pick(place.spaces)), replica().type("u")]),
  patch_document: onPage(`select perch.patch_document(${named}, patch => '{"body": "patched"}')`),
  delete_document: onPage(`select perch.delete_document(${named})`),
  lock_document: onPage(`select perch.lock_document(${named})`),
  document_state: onPage(`select count(*) from perch.document_state(${named})`),
  create_space: (tx) => tx.query("select perch.create_space(space_id => $1)", [pick([...spaces, "more", "others"])]),
  set_space_member: (tx) =>
    tx.query("select perch.set_space_member(space_id => $1, user_id => $2, role => 'owner')", [
      pick(spaces),
      pick(users),
    ]),
  remove_space_member: (tx) =>
    tx.query("select perch.remove_space_member(space_id => $1, user_id => 'guest')", [pick(spaces)]),
  invite_to_space: async (tx) => {
    const [row] = await tx.query<{ invitation: string }>(
      "select perch.invite_to_space(space_id => $1, max_uses => 9) as invitation",
      [pick(spaces)],
    );
    invitations.push(row?.invitation ?? "");
  },
  // Of one that was taken back meanwhile, or rolled back, the row is looked for all the same.
  accept_invitation: (tx) =>
    tx.query("select perch.accept_invitation(invitation => $1)", [pick(invitations.slice(-3)) ?? "none"]),
  revoke_invitation: (tx) => tx.query("select perch.revoke_invitation(space_id => $1)", [pick(spaces)]),
  put_checkpoint: (tx) =>
    tx.query("select perch.put_checkpoint(thread_id => $1, state => $2, step => 1)", [
      pick(threads),
      JSON.stringify({ a: pick(["x", "y"]), long: pick(["a", "b"]).repeat(2_000) }),
    ]),
  update_checkpoint_state: onThread(
    "select perch.update_checkpoint_state(thread_id => $1, parent_id => c.id, state => c.state) from perch.latest_checkpoint(thread_id => $1) c",
  ),
  fork_checkpoint: onThread(
    "select perch.fork_checkpoint(thread_id => $1, id => c.id) from perch.latest_checkpoint(thread_id => $1) c",
  ),
  delete_thread: onThread("select perch.delete_thread(thread_id => $1)"),
  prune_checkpoints: plain("select perch.prune_checkpoints(keep_last => 3)"),
  put_channels: (tx, place) => {
    const { names, starts, sizes, payload } = written();
    const versions = Object.fromEntries(names.map((name) => [name, 1]));
    return tx.query(
      `select perch.put_channels(tenant_id => $1, thread_id => $2, namespace => '', id => gen_random_uuid(), parent_id => null, step => 1,
         metadata => '{}', checkpoint => $3, channels => $4, types => array_fill(null::text, array[$5::int]), starts => $6, sizes => $7, payload => $8)`,
      [
        place.tenant,
        `g-${pick(threads)}`,
        JSON.stringify({ channel_versions: versions }),
        names,
        names.length,
        starts,
        sizes,
        payload,
      ],
    );
  },
  put_writes: (tx, place) => {
    const { names, starts, sizes, payload } = written();
    return tx.query(
      `select perch.put_writes(tenant_id => $1, thread_id => $2, namespace => '', checkpoint_id => '00000000-0000-7000-8000-000000000001',
         task_id => $3, idxs => $4, channels => $5, types => array_fill(null::text, array[$6::int]), starts => $7, sizes => $8, payload => $9, replace => true)`,
      [
        place.tenant,
        `g-${pick(threads)}`,
        pick(["t1", "t2"]),
        names.map((_, n) => n),
        names,
        names.length,
        starts,
        sizes,
        payload,
      ],
    );
  },
  load_channels: (tx, place) =>
    tx.query("select count(*) from perch.load_channels(tenant_id => $1, thread_id => $2, namespace => '')", [
      place.tenant,
      `g-${pick(threads)}`,
    ]),
  append_thread_events: onThread(
    `select perch.append_thread_events(thread_id => $1, events => array['{"n": 1}'::jsonb])`,
  ),
  archive_thread_events: onThread("select count(*) from perch.archive_thread_events(thread_id => $1, up_to => 1)"),
  acquire_lease: onThread("select perch.acquire_lease(thread_id => $1, holder => 'h')"),
  renew_lease: onThread("select perch.renew_lease(thread_id => $1, token => 1)"),
  release_lease: onThread("select perch.release_lease(thread_id => $1, token => 1)"),
  restore_changes: (tx, place) => {
    const line = (space: string | null, client: string) => ({
      kind: "change",
      app_id: "notes",
      space_id: space ?? "~nobody",
      seq: Math.floor(Math.random() * 1_000),
      op: "insert",
      table: "tasks",
      id: pick(documents),
      data: { title: "r" },
      field_meta: {},
      at: "2026-01-01T00:00:00.000000Z",
      client_id: client,
      op_id: null,
      schema_version: 1,
      actor: null,
      origin: null,
    });
    const lines = place.spaces.map((space, n) => line(space, `c${n}`)).sort(() => Math.random() - 0.5);
    return tx.query("select perch.restore_changes(lines => $1::jsonb, from_user => 'nobody', from_epoch => 'none')", [
      JSON.stringify(lines),
    ]);
  },
  open_in_transaction: (tx, place) => store.applyPatch(tx, address(pick(place.spaces)), { title: pick(["s", "t"]) }),
};

/** By whom or what those are called that no transaction of an app calls by itself. */
const elsewhere: Record<string, string> = {
  begin_epoch: "check_history",
  enter_console: "whatever the console does",
  check_history: "beside the workers",
  new_revision: "append_updates",
  append_to_tail: "append_updates, finish_inbox and write_document",
  make_documents: "append_updates, write_document and adopt_row",
  lock_document_row: "finish_inbox, project_document and write_document",
  adopt_row: "whatever opens a document in columns",
  is_row_document: "adopt_row",
  access_to_document: "the gateway, before a room is joined; it takes no lock",
  readable_document: "reading a document over HTTP; it takes no lock",
  documents_in_sight: "access_to_document and append_updates; it takes no lock",
  is_document_in_sight: "access_to_document and readable_document; it takes no lock",
  lock_row: "adopt_row and project_columns",
  add_column_write: "the triggers of synced tables, and project_columns",
  project_columns: "project_document",
  write_columns: "project_columns",
  claim_column_writes: "claim_pending",
  claim_pending: "the workers",
  finish_column_write: "the workers",
  end_row_document: "the workers",
  end_document: "delete_document, adopt_row and end_row_document",
  try_document_row: "project_document and fold_document",
  compare_record: "project_document and write_document",
  show_record: "project_document and write_document",
  claim_projections: "the workers",
  submit_patch: "patch_document",
  push_immediately: "as push, with the checks of constraints before its end",
  set_tail_aside: "beside the workers",
  pull_text: "as pull",
  stream_page: "as pull",
  read_log: "as pull, of what nobody locks",
  read_log_snapshot: "as pull, of what nobody locks",
  give_places: "read_log",
  forget_commits: "prune_changes, of what nobody locks",
  promise_sequencing: "the workers",
  sequence_changes: "the workers",
  number_captured: "sequence_changes and pull",
  number_waiting: "pull",
  open_shape: "as pull, for what it gives numbers",
  hold_tables: "as any reader, of the tables",
  changed_tables: "as pull, for what it gives numbers",
  shape_rights: "as pull, for what it gives numbers",
  catches_undone: "whatever writes; it takes no lock",
  set_context: "every transaction begins with it",
  set_tenant: "every transaction begins with it",
  write_document: "DocumentStore, after open_in_transaction",
  append_updates: "the editors of the nodes",
  notify_appends: "the nodes",
  notify_deferred: "the workers",
  claim_inbox: "claim_pending",
  take_document_lock: "claim_inbox, claim_column_writes and lock_document",
  finish_inbox: "the workers",
  project_document: "the workers",
  enqueue_document: "finish_inbox",
  log_document: "delete_document, project_document and write_document",
  number_changes: "push and log_document",
  take_number: "push and log_document",
  make_heads: "push and log_document",
  next_ordinal: "log_document",
  notify_unnumbered: "push and log_document",
  notify_captured: "push and log_document",
  fold_document: "the workers",
  prune_changes: "beside the workers",
  prune_space: "prune_changes",
  retry_update: "beside the workers",
  discard_update: "beside the workers",
  console_retry: "beside the workers",
  console_discard: "beside the workers",
  console_revert: "patch_document, in the console's transaction",
  note_console_action: "console_retry and console_discard",
  append_encrypted: "beside the workers",
  advance_reach: "append_encrypted",
  delete_reached: "append_encrypted",
  put_presence: "beside the workers",
  enter_presence: "beside the workers",
  leave_presence: "beside the workers",
};

const store = new DocumentStore();
const address = (space: string | null) => ({
  appId: "notes",
  tableName: pick(["pages", "cards"]),
  recordId: pick(documents),
  ...(space !== null && { spaceId: space }),
});

const besides: ((tx: Transaction) => Promise<unknown>)[] = [
  (tx) => tx.query("update public.cards set title = title || 'x' where id = $1", [pick(documents)]),
  (tx) => tx.query("update public.cards set title = title || 'y' where id = $1", [pick(documents)]),
  (tx) => tx.query("delete from public.cards where id = $1", [pick(documents)]),
  (tx) =>
    tx.query("insert into public.cards values ($1, $2, 'z') on conflict do nothing", [pick(documents), pick(spaces)]),
  (tx) => tx.query("select perch.check_history()"),
  (tx) =>
    tx.query(
      "select perch.set_tail_aside($1, 'notes', 'pages', $2, after_seq => 0, first_seq => 1, first_revision => 1)",
      [pick(spaces), pick(documents)],
    ),
  (tx) => tx.query("select perch.prune_changes(keep_for => '0', keep_last => 5)"),
  (tx) => tx.query("select perch.retry_update($1, 'notes', 'pages', $2, 1)", [pick(spaces), pick(documents)]),
  (tx) => tx.query("select perch.discard_update($1, 'notes', 'pages', $2, 1)", [pick(spaces), pick(documents)]),
  ...["retry", "discard"].map((action) => async (tx: Transaction) => {
    await tx.query("select perch.enter_console(user_id => 'ann', role => 'admin')");
    await tx.query(`select perch.console_${action}($1, 'notes', 'pages', $2, 1)`, [pick(spaces), pick(documents)]);
  }),
  (tx) =>
    tx.query(
      `select perch.append_encrypted($1, 'notes', 'diaries', $2, incarnation_seq => 0, user_ids => '{ada}', writable => '{true}', peer_ids => '{1}',
         firsts => '{0}', nexts => '{1}', versions => '{null}', payloads => '{x}')`,
      [pick(spaces), pick(documents)],
    ),
  (tx) =>
    tx.query("select perch.delete_document('notes', 'diaries', $1, 'team') from perch.set_context(user_id => 'ada')", [
      pick(documents),
    ]),
  ...["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"].flatMap((node) => [
    (tx: Transaction) => tx.query("select perch.enter_presence($1)", [node]),
    (tx: Transaction) => tx.query("select perch.leave_presence($1)", [node]),
    (tx: Transaction) =>
      tx.query(
        `select perch.put_presence($1, '{team,team}', '{notes,notes}', '{pages,pages}', $2, '{persisted,persisted}', '{k,k}', '{k,k}', '{1,1}', '{1,1}')`,
        [node, [pick(documents), pick(documents)]],
      ),
  ]),
];

describe("all functions at once", () => {
  const open = postgres(18);
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await declare(t);
    await t.db.query("select perch.declare_encrypted_table(app_id => 'notes', table_name => 'diaries')");
    await t.asUser("ada", async (tx) => {
      for (const space of spaces) {
        await tx.query("select perch.create_space(space_id => $1)", [space]);
        for (const user of users)
          await tx.query("select perch.set_space_member(space_id => $1, user_id => $2, role => 'owner')", [
            space,
            user,
          ]);
      }
    });
    await t.db.query("create table public.cards (id text primary key, space text, title text)");
    await t.db.query(
      "insert into public.cards values ('a', 'team', ''), ('b', 'team', ''), ('c', 'crew', ''), ('d', 'crew', '')",
    );
    await t.db.query(
      `select perch.sync_table('public.cards', app_id => 'notes', space_column => 'space', writable_columns => '{title}', documents => '{"title": "string"}')`,
    );
  });
  it("are all here: what writes or locks is called by this test", async () => {
    const rows = await t.db.query<{ name: string }>(
      `select distinct p.proname as name from pg_proc p
        where p.pronamespace = 'perch'::regnamespace and p.provolatile = 'v'
          and (has_function_privilege('perch_app', p.oid, 'execute') or has_function_privilege('perch_worker', p.oid, 'execute'))`,
    );
    const covered = new Set([...Object.keys(calls), ...Object.keys(elsewhere)]);
    expect(rows.map(({ name }) => name).filter((name) => !covered.has(name))).toEqual([]);
  });

  it("come to no deadlock", { timeout: 180_000 }, async () => {
    const nodes = await Promise.all(
      [1, 2].map(() => startWorkerNode(t, { settings: { projectionMs: 20, foldUpdates: 4, foldBytes: 100 } })),
    );
    const before = await deadlocks();
    const until = Date.now() + runMs;
    const unexpected: string[] = [];
    const done: Record<string, number> = {};
    const outcome = (name: string, error?: unknown) => {
      done[name] = (done[name] ?? 0) + 1;
      const { code = "", message } = (error ?? {}) as { code?: string; message?: string };
      // Several nodes may find each other at work on a document, or a member without rights.
      if (error !== undefined && !/^PE|^55P03$/.test(code)) unexpected.push(`${name}: ${code} ${message}`);
    };
    const everything = Object.entries(calls);
    const allDone = () => everything.every(([name]) => done[name]);
    const context = (userId: string, place: Place) => ({ userId, tenantId: place.tenant });

    async function anyone(db: Database, user: string): Promise<void> {
      const place = { spaces: [...spaces, null], tenant: "acme" };
      // In turn, so that none is left out, each from a place of its own.
      for (
        let turn = Math.floor(Math.random() * everything.length);
        Date.now() < until || (!allDone() && Date.now() < until + 60_000);
        turn++
      ) {
        const [name, call] = everything[turn % everything.length] as [string, Call];
        await withContext(db, context(user, place), (tx) => call(tx, place)).then(
          () => outcome(name),
          (error) => outcome(name, error),
        );
      }
    }

    async function loner(db: Database, user: string): Promise<void> {
      const place = { spaces: [null], tenant: user };
      const own = everything.filter(([name]) => !/space|invitation/.test(name));
      while (Date.now() < until) {
        const chosen = some(own);
        const name = `loner: ${chosen.map(([one]) => one).join(", ")}`;
        await withContext(db, context(user, place), async (tx) => {
          for (const [, call] of chosen) await call(tx, place);
        }).then(
          () => outcome("loner"),
          (error) => outcome(name, error),
        );
      }
    }

    async function orderly(db: Database, user: string): Promise<void> {
      while (Date.now() < until) {
        const keys = [...new Set(some(documents))].sort();
        await withContext(db, { userId: user }, async (tx) => {
          for (const space of spaces)
            for (const id of keys) await tx.query(`select perch.lock_document(${named})`, page(space, id, "pages"));
          for (const space of spaces)
            for (const id of keys)
              await tx.query(
                `select perch.patch_document(${named}, patch => '{"title": "o"}')`,
                page(space, id, "pages"),
              );
          await push(tx, [
            { op: "update", table: "tasks", id: "t", space_id: "team", data: { title: "o" } },
            { op: "update", table: "tasks", id: "t", space_id: "crew", data: { title: "o" } },
          ]);
        }).then(
          () => outcome("orderly"),
          (error) => outcome("orderly", error),
        );
      }
    }

    async function worker(db: Database): Promise<void> {
      while (Date.now() < until) {
        const work = pick(besides);
        await db
          .transaction(async (tx) => {
            await tx.query("set local role perch_worker");
            if (String(work).includes("set_context")) await tx.query("set local role perch_app");
            if (String(work).includes("public.cards")) await tx.query("reset role");
            await work(tx);
          })
          .then(
            () => outcome("worker"),
            (error) => outcome("worker", error),
          );
      }
    }

    async function editor(index: number, space: string): Promise<void> {
      const node = nodes[index % nodes.length] ?? nodes[0];
      if (!node) return;
      const key = keyOf(documents[index % documents.length] ?? "a", space);
      while (Date.now() < until) {
        const client = await connect(node, key, { userId: "ada" });
        for (let n = 0; n < 20 && !client.ended() && Date.now() < until; n++)
          await client.type("x").then(
            () => outcome("editor"),
            (error) => outcome("editor", error),
          );
        client.leave();
      }
    }

    const pool = await Promise.all(Array.from({ length: 4 }, () => t.connect()));
    const [first, second, third, fourth] = pool as [Database, Database, Database, Database];
    await Promise.all([
      ...users.flatMap((user) => [anyone(first, user), anyone(second, user)]),
      loner(third, "lou"),
      loner(third, "liz"),
      orderly(fourth, "ada"),
      orderly(fourth, "ben"),
      worker(third),
      worker(fourth),
      ...[0, 1, 2, 3].map((index) => editor(index, index < 2 ? "team" : "crew")),
    ]);
    expect(unexpected).toEqual([]);
    expect(await deadlocks()).toBe(before);
    expect(Object.keys(calls).filter((name) => !done[name])).toEqual([]);
    for (const name of ["loner", "orderly", "worker", "editor"]) expect(done[name]).toBeGreaterThan(0);

    // Whoever takes a number of a log notes what its last entry is: a reader who stands there is judged by it.
    const heads = await t.db.query(
      `select h.space_id, h.mark, perch.entry_mark(c.created_at) as should_be
         from perch.space_heads h join perch.sync_changes c on c.space_id = h.space_id and c.seq = h.seq`,
    );
    expect(heads.length).toBeGreaterThan(2);
    for (const { mark, should_be } of heads) expect(mark).toBe(should_be);
  });

  /** Those that the server counted; a session tells the count a little later than its caller. */
  async function deadlocks(): Promise<number> {
    await eventually(async () => {
      await t.db.query("select pg_stat_force_next_flush()");
      return true;
    });
    await new Promise((done) => setTimeout(done, 1_100));
    const [row] = await t.db.query<{ deadlocks: number }>(
      "select deadlocks from pg_stat_database where datname = current_database()",
    );
    return row?.deadlocks ?? 0;
  }
});
