import type { Queryable, Transaction } from "../../src/database/types.js";
import type { TestDatabase } from "../support/databases.js";
import { makeThreads } from "./checkpoints.js";

/** Who is asking, seen from the space "team"; the order of every row of expectations. */
export const contexts = ["none", "other", "viewer", "editor", "owner", "removed"] as const;
export type ContextName = (typeof contexts)[number];

const users: Record<ContextName, string | null> = {
  none: null,
  other: "otto",
  viewer: "vera",
  editor: "eddy",
  owner: "olga",
  removed: "rudi",
};
/** Checkpoints belong to tenants: that of the team, another one, or none. */
const tenants: Record<ContextName, string | null> = {
  none: null,
  other: "other-inc",
  viewer: "acme",
  editor: "acme",
  owner: "acme",
  removed: null,
};

/** With which rights: the last four are logins of their own. */
export const roles = ["superuser", "perch_owner", "perch_app", "perch_worker", "stranger"] as const;
export type RoleName = (typeof roles)[number];

export const userOf = (context: ContextName): string | null => users[context];

/** Who owns the functions of the app. Roles are of the whole server, so another test may be making it. */
const createAuthor = (db: Queryable) =>
  db.query(`do $$ begin create role app_author nologin;
            exception when duplicate_object or unique_violation then null; end $$`);

/** Content of every kind, in the space "team", in "elsewhere" (of the other user) and in personal spaces. */
export async function makeWorld(t: TestDatabase): Promise<void> {
  await t.db.query(
    `select perch.declare_table(app_id => 'notes', table_name => 'pages', fields => '{"title": "string", "body": "text"}')`,
  );
  await t.db.query("create function public.unchanged(jsonb) returns jsonb language sql immutable as 'select $1'");
  await t.db.query(
    "select perch.register_upgrade(app_id => 'todo', table_name => 'lists', from_version => 1, upgrade => 'public.unchanged(jsonb)')",
  );
  await t.db.query("select perch.set_schema_version(app_id => 'todo', table_name => 'lists', current_version => 2)");
  await createAuthor(t.db);
  await t.db.query(
    `create function public.echo(args jsonb) returns jsonb language sql security definer set search_path = pg_catalog, pg_temp as 'select args'`,
  );
  await t.db.query("alter function public.echo owner to app_author");
  await t.db.query("select perch.register_mutator(app_id => 'todo', name => 'echo', function => 'public.echo(jsonb)')");
  await t.db.query("select perch.set_limit('prune_batch', 2000)");
  await t.asUser("olga", async (tx) => {
    await tx.query("select perch.create_space(space_id => 'team')");
    await tx.query("select perch.set_space_member(space_id => 'team', user_id => 'eddy', role => 'editor')");
    await tx.query("select perch.set_space_member(space_id => 'team', user_id => 'vera', role => 'viewer')");
    await tx.query("select perch.set_space_member(space_id => 'team', user_id => 'rudi', role => 'editor')");
  });
  await t.asUser("otto", (tx) => tx.query("select perch.create_space(space_id => 'elsewhere')"));
  await t.db.query(
    `insert into perch.space_invitations (space_id, invitation_id, role, uses_left, created_by, expires_at)
     values ('team', perch.invitation_id(repeat('0', 64)), 'editor', 1000, 'olga', now() + '1 day')`,
  );
  await t.db.query(
    "insert into perch.document_locks (space_id, app_id, table_name, record_id, purpose) values ('team', 'notes', 'pages', 'olga-in-team', 'write')",
  );
  await t.db.query("insert into perch.deferred_notifications (space_id, seq) values ('team', 1)");
  await t.db.query("create table public.fresh (id int primary key)");
  await t.db.query("create table public.orders (id int primary key)");
  await t.db.query(
    "insert into perch.synced_relations (app_id, table_name, relation, space_id) values ('shop', 'orders', 'public.orders', 'team')",
  );
  await t.db.query("insert into perch.console_actions (user_id, action, subject) values ('olga', 'retry', '{}')");
  await t.db.query("insert into perch.row_images (space_id, seq) values ('team', 1)");
  await t.db.query("insert into perch.begun_epochs (epoch, reason) values (gen_random_uuid(), 'server')");
  await t.db.query("insert into perch.closed_logs (app_id, table_name, position) values ('shop', 'gone', 1)");
  await t.db.query(
    "insert into perch.row_stamps (space_id, app_id, table_name, record_id, latest_at) values ('team', 'shop', 'orders', '1', now())",
  );
  await t.db.query(
    "insert into perch.row_documents (space_id, app_id, table_name, record_id, shown_seq, shown_version) values ('team', 'shop', 'orders', '1', 0, '{}')",
  );
  await t.db.query(
    "insert into perch.column_writes (space_id, app_id, table_name, record_id, ordinal, user_id) values ('team', 'shop', 'orders', '1', 1, '')",
  );
  for (const [user, space] of [
    ["olga", "team"],
    ["rudi", "team"],
    ["olga", null],
    ["otto", "elsewhere"],
  ] as const) {
    await t.asUser(user, (tx) => author(tx, user, space));
  }
  await t.asWorker(work);
  await t.db.query("select perch.declare_encrypted_table(app_id => 'notes', table_name => 'diaries')");
  await t.asWorker((tx) =>
    tx.query(`select perch.append_encrypted('team', 'notes', 'diaries', 'd1', ${span("olga", 0)})`),
  );
  await t.asWorker(async (tx) => {
    const node = "00000000-0000-4000-8000-000000000002";
    await tx.query("select perch.enter_presence($1)", [node]);
    await tx.query(
      `select perch.put_presence($1, '{team}', '{notes}', '{pages}', '{olga-in-team}', '{persisted}', '{k}', '{k}', '{1}', '{3600000}')`,
      [node],
    );
  });
  await t.db.transaction(makeThreads);
  await t.asUser("olga", (tx) => tx.query("select perch.remove_space_member(space_id => 'team', user_id => 'rudi')"));
  await t.db.query("select perch.register_reader(reader => 'search', app_ids => '{todo}')");
  await t.db.query("insert into perch.readers (reader, app_ids, login) values ('elsewhere', '{todo}', 'app_author')");
  await t.db.query(
    "insert into perch.commit_order (ordinal, txid, space_id, first_seq, last_seq) values (0, pg_current_xact_id(), 'team', 1, 1)",
  );
  // Where none of what is tried here is pushed: that would wait for its number behind it.
  await t.db.query(
    `insert into perch.captured_changes (ordinal, nth, txid, space_id, app_id, table_name, record_id, op, new_row, captured_at)
     values (1, 1, pg_current_xact_id(), 'elsewhere', 'shop', 'orders', '1', 'insert', '{}', now())`,
  );
}

/** The arguments of perch.append_encrypted for one span of one operation. */
export const span = (user: string, first: number) =>
  `incarnation_seq => 0, user_ids => '{${user}}', writable => '{null}', peer_ids => '{1}', firsts => '{${first}}',
   nexts => '{${first + 1}}', versions => '{null}', payloads => '{x}'`;

/** One record, one document with a pending patch, one deleted document. */
async function author(tx: Transaction, user: string, space: string | null): Promise<void> {
  const record = `${user}-in-${space ?? "home"}`;
  const change = { op: "insert", table: "tasks", id: record, data: { title: "x" }, op_id: record, space_id: space };
  await tx.query("select perch.push(app_id => 'todo', changes => $1::jsonb, client_id => 'c')", [
    JSON.stringify([change]),
  ]);
  for (const id of [record, `${record}-gone`]) {
    await tx.query(
      "select perch.patch_document(app_id => 'notes', table_name => 'pages', record_id => $1, patch => '{}', space_id => $2)",
      [id, space],
    );
  }
  await tx.query(
    "select perch.delete_document(app_id => 'notes', table_name => 'pages', record_id => $1, space_id => $2)",
    [`${record}-gone`, space],
  );
}

/** Gives every document a history, a snapshot, a tail, and a place in the queue. */
async function work(tx: Transaction): Promise<void> {
  const documents = await tx.query<{ space_id: string; record_id: string; created_by: string }>(
    "select space_id, record_id, created_by from perch.documents order by space_id, record_id",
  );
  for (const { space_id, record_id, created_by } of documents) {
    const key = [space_id, "notes", "pages", record_id];
    for (const byte of [1, 2, 3]) {
      await tx.query(
        `select perch.append_updates(space_ids => array[$1], app_ids => array[$2], table_names => array[$3], record_ids => array[$4],
                after_seqs => array[0], update_entries => array[1], updates => array[$5::bytea], user_ids => array[$6],
                writable => array[true], client_ids => array[null])`,
        [...key, Uint8Array.of(byte), created_by],
      );
    }
    for (const seq of [2, 3]) {
      await tx.query("select perch.fold_document($1, $2, $3, $4, snapshot => '\\x03', seq => $5)", [...key, seq]);
    }
  }
}

/** Names the user and the tenant of a context for the rest of a transaction that a superuser began. */
export async function enter(tx: Transaction, context: ContextName): Promise<void> {
  if (users[context] !== null) await tx.query("select perch.set_context(user_id => $1)", [users[context]]);
  if (tenants[context] !== null) await tx.query("select perch.set_tenant(tenant_id => $1)", [tenants[context]]);
}

/** Makes the logins that the roles stand for. Out: the name of each; null for the superuser itself. */
export async function makeLogins(t: TestDatabase): Promise<Record<RoleName, string | null>> {
  const names: Partial<Record<RoleName, string | null>> = { superuser: null };
  for (const role of roles) {
    if (role === "superuser") continue;
    const login = await t.login(role);
    const [row] = await login.query<{ name: string }>("select session_user as name");
    names[role] = row?.name ?? null;
  }
  return names as Record<RoleName, string | null>;
}

/**
 * Runs statements one after the other with the rights of whoever calls it, and undoes each. There are tens of thousands of attempts:
 * as statements of their own each would be three round trips.
 */
const attemptSql = `
  create or replace function public.attempt(statements text[]) returns jsonb language plpgsql as $$
  declare
    outcomes jsonb[] := '{}';
    outcome jsonb;
    statement text;
    value record;
  begin
    foreach statement in array statements loop
      begin
        if statement like 'insert %' then
          execute statement;
          outcome := '{"row": null}';
        else
          execute statement into value;
          outcome := jsonb_build_object('row', to_jsonb(value));
        end if;
        raise exception using errcode = 'TRIED';
      exception when others then
        if sqlstate <> 'TRIED' then
          outcome := jsonb_build_object('code', sqlstate, 'message', sqlerrm);
        end if;
      end;
      outcomes := outcomes || outcome;
    end loop;
    return to_jsonb(outcomes);
  end $$`;

type Outcome = { row: Record<string, unknown> | null } | { code: string; message: string };

/**
 * Runs attempts with the rights of a login in a context, each undone.
 * In: the statements. Out: for each what `outcome` makes of its first value, or of its error.
 */
export async function attempts(
  t: TestDatabase,
  login: string | null,
  context: ContextName,
  statements: readonly { sql: string; outcome(value: unknown, error?: { code?: string; message: string }): string }[],
): Promise<string[]> {
  await t.db.query(attemptSql);
  const rollback = new Error("only tried");
  let outcomes: string[] = [];
  try {
    await t.db.transaction(async (tx) => {
      await enter(tx, context);
      if (login !== null) await tx.query(`set local session authorization ${login}`);
      const [row] = await tx.query<{ outcomes: Outcome[] }>("select public.attempt($1) as outcomes", [
        statements.map(({ sql }) => sql),
      ]);
      outcomes = (row?.outcomes ?? []).map((found, nth) => {
        const { outcome } = statements[nth] as (typeof statements)[number];
        return "row" in found
          ? outcome(found.row === null ? undefined : Object.values(found.row)[0])
          : outcome(undefined, found);
      });
      throw rollback;
    });
  } catch (error) {
    if (error !== rollback) throw error;
  }
  return outcomes;
}
