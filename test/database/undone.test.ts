/**
 * Functions of the API in transactions that keep the snapshot of their first statement: what they meet that was committed behind it undoes
 * them (40001), and the error says what to do.
 */
import { expect, it } from "vitest";
import type { Transaction } from "../../src/database/types.js";
import { DocumentStore } from "../../src/documents/store/store.js";
import { describeEachPostgres, type TestDatabase } from "../support/databases.js";
import { replica } from "../worker/support.js";

type Work = (tx: Transaction) => Promise<unknown>;
interface Case {
  readonly run: Work;
  /** What others do and commit between the snapshot and the call; the same, unless it says otherwise. */
  readonly meanwhile?: Work;
  readonly user?: string;
}

const sql =
  (call: string, params: unknown[] = []): Work =>
  (tx) =>
    tx.query(`select perch.${call}`, params);

const store = new DocumentStore();
let written = 0;
const write: Work = (tx) =>
  store.applyPatch(tx, { appId: "a", tableName: "docs", recordId: "d" }, { title: `w${written++}` });
const change = JSON.stringify([{ op: "insert", table: "tasks", id: "x", data: { n: 1 } }]);
const push = sql("push(app_id => 'a', client_id => 'c', changes => $1)", [change]);
const patch = sql(`patch_document('a', 'docs', 'd', patch => '{"title": "x"}')`);
const put = sql("put_checkpoint(thread_id => 'r', state => '{}', step => 2)");
const append = sql("append_thread_events(thread_id => 'r', events => array['1'::jsonb])");
const member = sql("set_space_member(space_id => 'team', user_id => 'bob', role => 'editor')");
const latest = "perch.latest_checkpoint(thread_id => 'r') c";
const pieces = "types => '{null}', starts => '{1}', sizes => '{1}', payload => 'x'";
const someId = "'00000000-0000-7000-8000-000000000001'";

const undone = (invitation: unknown, token: unknown): Record<string, Case> => ({
  create_space: { run: sql("create_space(space_id => 'fresh')") },
  set_space_member: { run: member },
  remove_space_member: { run: sql("remove_space_member(space_id => 'team', user_id => 'bob')"), meanwhile: member },
  invite_to_space: { run: sql("invite_to_space(space_id => 'team')"), meanwhile: member },
  revoke_invitation: { run: sql("revoke_invitation(space_id => 'team')"), meanwhile: member },
  accept_invitation: { run: sql("accept_invitation(invitation => $1)", [invitation]), user: "cyd" },
  put_checkpoint: { run: put },
  update_checkpoint_state: {
    run: sql(`update_checkpoint_state(thread_id => 'r', parent_id => c.id, state => '{}') from ${latest}`),
    meanwhile: put,
  },
  fork_checkpoint: { run: sql(`fork_checkpoint(thread_id => 'r', id => c.id) from ${latest}`), meanwhile: put },
  prune_checkpoints: { run: sql("prune_checkpoints(keep_last => 1)"), meanwhile: put },
  put_channels: {
    run: sql(
      `put_channels('acme', 'g', '', id => gen_random_uuid(), parent_id => null, step => 1, metadata => '{}',
         checkpoint => '{"channel_versions": {"k": 1}}', channels => '{k}', ${pieces})`,
    ),
  },
  put_writes: {
    run: sql(
      `put_writes('acme', 'g', '', ${someId}, task_id => 't', idxs => '{0}', channels => '{k}', ${pieces}, replace => true)`,
    ),
  },
  append_thread_events: { run: append },
  archive_thread_events: { run: sql("archive_thread_events(thread_id => 'r', up_to => 1)"), meanwhile: append },
  acquire_lease: { run: sql("acquire_lease(thread_id => 'l', holder => 'h')") },
  renew_lease: { run: sql("renew_lease(thread_id => 'm', token => $1)", [token]) },
  release_lease: { run: sql("release_lease(thread_id => 'm', token => $1)", [token]) },
  delete_thread: { run: sql("delete_thread(thread_id => 'r')"), meanwhile: put },
  push: { run: push },
  push_immediately: {
    run: sql("push_immediately(app_id => 'a', client_id => 'c', changes => $1)", [change]),
    meanwhile: push,
  },
  restore_changes: { run: sql("restore_changes(lines => '[]', from_user => 'ada', from_epoch => 'none')") },
  open_in_transaction: { run: write },
  write_document: { run: write, meanwhile: push },
  push_update: { run: sql("push_update('a', 'docs', 'd', update => $1)", [replica().type("u")]) },
  submit_patch: { run: sql(`submit_patch('a', 'docs', 'd', patch => '{"title": "x"}')`) },
  patch_document: { run: patch },
  delete_document: { run: sql("delete_document('a', 'docs', 'd')"), meanwhile: patch },
  lock_document: { run: sql("lock_document('a', 'docs', 'other')") },
});

/** Others that are volatile: they only read, or leave to others what they would have to wait for. */
const right: Record<string, Work> = {
  pull: sql("pull(app_id => 'a')"),
  pull_text: sql("pull_text(app_id => 'a')"),
  stream_page: sql("stream_page('ada', null, null, 1000, 'a', '{}', 10, null, null, null)"),
  load_channels: sql("load_channels('acme', 'g', '')"),
  read_log: sql("read_log(reader => 'search', cursor => perch.read_log_snapshot(reader => 'search') -> 'cursor')"),
  read_log_snapshot: sql("read_log_snapshot(reader => 'search')"),
  give_places: sql("give_places(reader => 'search')"),
  set_context: sql("set_context(user_id => 'ada')"),
  set_tenant: sql("set_tenant(tenant_id => 'acme')"),
};
/** Neither: these are for the processes, whose transactions are read committed. */
const apart = ["open_shape", "hold_tables"];

describeEachPostgres("a function that meets what was committed behind the snapshot of its transaction", (open) => {
  const transaction = (t: TestDatabase, user: string, level: string, work: Work) =>
    t.db.transaction(async (tx) => {
      await tx.query(`set transaction isolation level ${level}`);
      await tx.query("set local role perch_app");
      await tx.query("select perch.set_context(user_id => $1), perch.set_tenant(tenant_id => 'acme')", [user]);
      return work(tx);
    });

  it.each(["repeatable read", "serializable"])("is right, or says what to do, at %s", async (isolation) => {
    const t = await open();
    const alone = (work: Work, user = "ada") => transaction(t, user, "read committed", work);
    await t.db.query(
      `select perch.declare_table(app_id => 'a', table_name => 'docs', fields => '{"title": "string"}'),
              perch.register_reader(reader => 'search', app_ids => '{a}')`,
    );
    const [made] = (await alone(async (tx) => {
      await sql("create_space(space_id => 'team')")(tx);
      for (const work of [put, append, write]) await work(tx);
      return tx.query(
        `select perch.invite_to_space(space_id => 'team', max_uses => 9) as invitation, l.token
           from perch.acquire_lease(thread_id => 'm', holder => 'h') l`,
      );
    })) as [{ invitation: string; token: unknown }];
    const cases = undone(made.invitation, made.token);

    const told: Record<string, unknown> = {};
    for (const [name, { run, meanwhile = run, user }] of Object.entries(cases)) {
      told[name] = await transaction(t, user ?? "ada", isolation, async (tx) => {
        await alone(meanwhile, user);
        return run(tx);
      }).then(
        () => "done",
        ({ code, message, hint }) => ({ code, message, hint }),
      );
    }
    const toRunAgain = {
      code: "40001",
      message: expect.stringMatching(/: run the transaction again, from its start$/),
      hint: expect.stringMatching(new RegExp(`^It is ${isolation}, `)),
    };
    expect(told).toEqual(Object.fromEntries(Object.keys(cases).map((name) => [name, toRunAgain])));

    await transaction(t, "ada", isolation, async (tx) => {
      for (const work of [push, put, patch, append, ...Object.values(right)]) await alone(work);
      for (const work of Object.values(right)) await work(tx);
    });
    const names = await t.db.query<{ name: string }>(
      `select distinct proname as name from pg_proc
        where pronamespace = 'perch'::regnamespace and provolatile = 'v' and has_function_privilege('perch_app', oid, 'execute')`,
    );
    expect(names.map(({ name }) => name).sort()).toEqual(
      [...Object.keys(cases), ...Object.keys(right), ...apart].sort(),
    );
  });

  it("calls itself with all that it was given", async () => {
    const t = await open();
    const functions = await t.db.query<{ name: string; source: string; given: string }>(
      `select proname as name, regexp_replace(prosrc, '\\s+', ' ', 'g') as source,
              array_to_string(proargnames[1:pronargs], ', ') as given
         from pg_proc where pronamespace = 'perch'::regnamespace and prosrc like '%if perch.catches_undone()%'`,
    );
    expect(functions.length).toBeGreaterThan(20);
    for (const { name, source, given } of functions)
      expect(source, name).toMatch(
        new RegExp(` perch\\.${name}\\(${given}\\)[^;]*;.* perch\\.fail_undone\\(sqlerrm\\)`),
      );
  });
});
