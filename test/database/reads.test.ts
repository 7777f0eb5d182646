/**
 * What a call reads does not grow with what is there, whatever the planner knows of it: nothing yet, as in a database that is new or was
 * restored, or what is true; nor in a session whose plans were made when there was little.
 */
import { expect, it, onTestFinished } from "vitest";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database, Queryable, Transaction } from "../../src/database/types.js";
import { DocumentStore } from "../../src/documents/store/store.js";
import { describeEachPostgres, type TestDatabase } from "../support/databases.js";
import { sequence } from "../tables/support.js";
import { replica } from "../worker/support.js";

const few = 5;
const many = 800;
/** More rows of one table than this, with many there than with few, are a search. */
const tolerated = 100;
/** To read a page of a table costs what a hundred do, as if the tables were so much longer: else a planner may well read all of a short one. */
const settings = ["seq_page_cost = 100", "random_page_cost = 1.1"];

/** Where readers are, behind all that is there. */
interface Places {
  cursor: string;
  readerCursor: string;
  /** What begins the second page of a reader's snapshot. */
  readerPage: string;
  position: string;
  presence: string;
  event: number;
}
type Call = (tx: Transaction, places: Places) => Promise<unknown>;

const sql =
  (text: string, values: (places: Places) => unknown[] = () => []): Call =>
  (tx, places) =>
    tx.query(text, values(places));
const push = (count: number, change: (n: number) => object): Call =>
  sql("select perch.push(app_id => 'shop', client_id => 'phone', changes => $1::jsonb)", () => [
    JSON.stringify(Array.from({ length: count }, (_, n) => ({ space_id: "team", ...change(n) }))),
  ]);
const written = (table: string, op: string, count: number, id: string, rest: object = {}): Call =>
  push(count, (n) => ({ op, table, id: `${id}${n}`, op_id: `${op} ${id}${n}`, ...rest }));
const title = { data: { title: "new" } };
const row = { data: { title: "new", points: 1 } };
const at = { at: "2026-01-01T00:00:00.000Z" };
const page = "app_id => 'shop', table_name => 'pages', record_id => 'p1', space_id => 'team'";
const key = "'team', 'shop', 'pages', 'p1'";
const node = "00000000-0000-4000-8000-000000000001";

const putPresence = (from: number, upto: number) =>
  `select perch.put_presence('${node}', array_agg('team'::text), array_agg('shop'::text), array_agg('pages'::text), array_agg('p' || n),
     array_agg('ephemeral'::text), array_agg('\\x01'::bytea), array_agg('\\x02'::bytea), array_agg(1::bigint), array_agg(600000::bigint)) as change
     from generate_series(${from}, ${upto}) n`;

const appends = (ids: string[]) =>
  sql(
    `select * from perch.append_updates(array_fill('team'::text, $3), array_fill('shop'::text, $3), array_fill('pages'::text, $3), $1,
       array_fill(0::bigint, $3), array(select generate_series(1, $3[1])), $2, array_fill('ada'::text, $3), array_fill(true, $3),
       array_fill('phone'::text, $3))`,
    () => [ids, ids.map(() => Buffer.from(replica().type("u"))), [ids.length]],
  );

const line = {
  kind: "change",
  app_id: "shop",
  space_id: "team",
  seq: 2,
  op: "insert",
  table: "tasks",
  id: "t2",
  data: { n: 1 },
  field_meta: {},
  at: at.at,
  client_id: "c",
};

const asUser: Record<string, Call> = {
  "push an insertion": written("tasks", "insert", 1, "new", title),
  "push insertions": written("tasks", "insert", 50, "new", title),
  "push insertions with times": written("tasks", "insert", 50, "new", { ...title, ...at }),
  "push an update": written("tasks", "update", 1, "t", title),
  "push updates": written("tasks", "update", 5, "t", title),
  "push updates with times": written("tasks", "update", 5, "t", { ...title, ...at }),
  "push deletions": written("tasks", "delete", 5, "t"),
  "push what was pushed": push(5, (n) => ({ op: "insert", table: "tasks", id: `t${n}`, op_id: `t${n}`, data: { n } })),
  "push an inserted row": written("cards", "insert", 1, "new", row),
  "push inserted rows": written("cards", "insert", 50, "new", row),
  "push inserted rows of long ids": written("cards", "insert", 5, "long".repeat(100), row),
  "push updated rows": written("cards", "update", 5, "c", title),
  "push deleted rows": written("cards", "delete", 5, "c"),
  "push to a document": written("pages", "update", 1, "p", title),
  "pull what is new": sql("select perch.pull(app_id => 'shop', cursor => $1)", ({ cursor }) => [cursor]),
  "pull what is new, as text": sql("select perch.pull_text(app_id => 'shop', cursor => $1)", ({ cursor }) => [cursor]),
  "pull a page": sql("select perch.pull(app_id => 'shop', page_size => 5)"),
  "pull a page of a table": sql("select perch.pull(app_id => 'shop', page_size => 5, tables => '{cards}')"),
  snapshot_records: sql("select perch.snapshot_records(app_id => 'shop', space_id => 'team', page_size => 5)"),
  "snapshot_records of a table": sql(
    "select perch.snapshot_records(app_id => 'shop', space_id => 'team', page_size => 5, tables => '{tasks}')",
  ),
  "snapshot_records of rows": sql(
    "select perch.snapshot_records(app_id => 'shop', space_id => 'team', page_size => 5, tables => '{cards}')",
  ),
  "a record": sql(
    "select from perch.records where space_id = 'team' and app_id = 'shop' and table_name = 'tasks' and record_id = 't1'",
  ),
  push_update: sql(`select perch.push_update(${page}, update => $1)`, () => [replica().type("u")]),
  patch_document: sql(`select perch.patch_document(${page}, patch => '{"title": "patched"}')`),
  document_state: sql(`select from perch.document_state(${page})`),
  current_document: sql(`select from perch.current_document(${page})`),
  versions_page: sql(`select perch.versions_page(${page}, before => null, max_count => 5)`),
  delete_document: sql(`select perch.delete_document(${page})`),
  put_checkpoint: sql(`select perch.put_checkpoint(thread_id => 'run', state => '{"a": "x"}', step => 1)`),
  "put_checkpoint of a new thread": sql(
    `select perch.put_checkpoint(thread_id => 'new', state => '{"a": "x"}', step => 1)`,
  ),
  latest_checkpoint: sql("select from perch.latest_checkpoint(thread_id => 'run')"),
  checkpoint_history: sql("select from perch.checkpoint_history(thread_id => 'run', max_count => 3)"),
  update_checkpoint_state: sql(
    "select perch.update_checkpoint_state(thread_id => 'run', parent_id => c.id, state => c.state) from perch.latest_checkpoint(thread_id => 'run') c",
  ),
  fork_checkpoint: sql(
    "select perch.fork_checkpoint(thread_id => 'run', id => c.id) from perch.latest_checkpoint(thread_id => 'run') c",
  ),
  append_thread_events: sql(`select perch.append_thread_events(thread_id => 'run', events => '{"{}"}')`),
  load_thread_events: sql("select from perch.load_thread_events(thread_id => 'run', after => $1)", ({ event }) => [
    event,
  ]),
  acquire_lease: sql("select perch.acquire_lease(thread_id => 'run', holder => 'h')"),
  list_spaces: sql("select perch.list_spaces()"),
  read_space: sql("select perch.read_space(space_id => 'team')"),
  create_space: sql("select perch.create_space(space_id => 'another')"),
  set_space_member: sql("select perch.set_space_member(space_id => 'team', user_id => 'cyd', role => 'editor')"),
  remove_space_member: sql("select perch.remove_space_member(space_id => 'team', user_id => 'ben')"),
  invite_to_space: sql("select perch.accept_invitation(i) from perch.invite_to_space(space_id => 'team') i"),
  restore_changes: sql(
    "select from perch.restore_changes(lines => $1, from_user => 'ada', from_epoch => perch.current_epoch())",
    () => [JSON.stringify([line])],
  ),
  open_shape: sql("select perch.open_shape(schema_name => 'public', table_name => 'cards')"),
  shape_changes: sql(
    "select from perch.shape_changes(schema_name => 'public', table_name => 'cards', after_lsn => $1)",
    ({ position }) => [position],
  ),
  "insert a row": sql("insert into cards values ('fresh', 'team', 'x', 1)"),
  "update a row": sql("update cards set points = points + 1 where id = 'c1'"),
  "delete a row": sql("delete from cards where id = 'c1'"),
};

const asWorker: Record<string, Call> = {
  document_access: sql("select perch.document_access('ada', 'team')"),
  open_document: sql(`select from perch.open_document(${key})`),
  load_document: sql(`select from perch.load_document(${key})`),
  claim_pending: sql(`select from perch.claim_pending(${key}, max_count => 5)`),
  // Not perch.pending_documents, which reads a window of 5,000.
  append_updates: appends(["p1"]),
  "append_updates to several": appends(["p0", "p1", "p2", "p3", "p4"]),
  claim_projections: sql("select from perch.claim_projections(5, 1, 600, 1000, 600, 600, 600, 1000)"),
  put_presence: sql(putPresence(1, 2)),
  presence_after: sql(
    "select from perch.presence_after('00000000-0000-4000-8000-000000000002', $1)",
    ({ presence }) => [presence],
  ),
  log_heads: sql("select from perch.log_heads(space_ids => '{team}')"),
  log_position: sql("select perch.log_position()"),
  changed_tables: sql("select from perch.changed_tables(after_position => $1)", ({ position }) => [position]),
  shown_upto: sql("select perch.shown_upto(after_position => 0, upto => $1, snapshot => '3:3:')", ({ position }) => [
    position,
  ]),
  shape_rights: sql(
    "select from perch.shape_rights(user_ids => '{ada}', schema_names => '{public}', table_names => '{cards}')",
  ),
  changes_of_shapes: sql(
    "select from perch.changes_of_shapes('public', 'cards', 'shop', 'cards', $1, $1, '{team}', '{}')",
    ({ position }) => [position],
  ),
  sequence_changes: sql("select perch.sequence_changes()"),
  notify_deferred: sql("select perch.notify_deferred(poll_for => '2 seconds')"),
  server_state: sql("select from perch.server_state()"),
};

const asReader: Record<string, Call> = {
  read_log: sql("select perch.read_log(reader => 'search', cursor => $1)", ({ readerCursor }) => [readerCursor]),
  // Not its first page: to know which spaces there are, that reads the tables of the app.
  read_log_snapshot: sql(
    "select perch.read_log_snapshot(reader => 'search', after => $1, page_size => 5)",
    ({ readerPage }) => [readerPage],
  ),
};

/** What is to be found. */
const search: Record<string, Call> = {
  "a search by the space": sql("select count(updated_at) from perch.stored_records where space_id = 'team'"),
  "a search of everything": sql("select count(updated_at) from perch.stored_records"),
};

const calls = [
  ["perch_app", asUser],
  ["perch_worker", asWorker],
  ["", { ...asReader, ...search }],
] as const;

const undone = new Error("undone");

/** Rows that a call reads, by table. What it did is undone. */
async function rowsRead(
  db: Database,
  role: string,
  call: (tx: Transaction) => Promise<unknown>,
): Promise<Map<string, number>> {
  const read = new Map<string, number>();
  const error = await db
    .transaction(async (tx) => {
      const count = () =>
        tx.query<{ table: string; rows: number }>(
          "select relid::regclass::text as table, (seq_tup_read + coalesce(idx_tup_fetch, 0))::float8 as rows from pg_stat_xact_user_tables",
        );
      if (role !== "") await tx.query(`set local role ${role}`);
      if (role === "perch_app") await tx.query("select perch.set_context(user_id => 'ada'), perch.set_tenant('acme')");
      const before = new Map((await count()).map(({ table, rows }) => [table, rows]));
      await call(tx);
      await tx.query("set constraints all immediate");
      for (const { table, rows } of await count()) read.set(table, rows - (before.get(table) ?? 0));
      throw undone;
    })
    .catch((caught: unknown) => caught);
  if (error !== undone) throw error;
  return read;
}

/** Of each call what it reads of each table, as "call: table". */
async function measure(db: Database, places: Places): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for (const [role, named] of calls)
    for (const [name, call] of Object.entries(named))
      for (const [table, rows] of await rowsRead(db, role, (tx) => call(tx, places)))
        found.set(`${name}: ${table}`, rows);
  return found;
}

async function begin(t: TestDatabase): Promise<void> {
  await t.db.transaction((tx) =>
    tx.script(`
      create table cards (id text primary key, team text not null, title text not null, points int not null);
      create index on cards (team, id);
      grant select, insert, update, delete on cards to perch_app;
      select perch.sync_table(relation => 'cards', app_id => 'shop', space_column => 'team', writable_columns => '{title,points}');
      select perch.declare_table('shop', 'pages', '{"title": "string"}');
      select perch.register_reader(reader => 'search', app_ids => '{shop}');
      do $$
      declare
        name text;
      begin
        for name in select oid::regclass from pg_class where relkind = 'r' and relnamespace in ('perch'::regnamespace, 'public'::regnamespace) loop
          execute format('alter table %s set (autovacuum_enabled = off)', name);
        end loop;
        foreach name in array '{${settings.join(",")}}'::text[] loop
          execute format('alter database %I set %s', current_database(), name);
        end loop;
      end $$`),
  );
  await t.asUser("ada", async (tx) => {
    await tx.query("select perch.create_space(space_id => 'team')");
    await tx.query("select perch.set_space_member(space_id => 'team', user_id => 'ben', role => 'editor')");
  });
}

const store = new DocumentStore();

/** So many of everything that there is. Out: where readers are then. */
async function grow(t: TestDatabase, from: number, to: number): Promise<Places> {
  const batch = 400;
  for (let first = from; first < to; first += batch) {
    const series = `generate_series(${first}, ${Math.min(to, first + batch) - 1}) n`;
    const changes = (change: string) =>
      `select perch.push('shop', (select jsonb_agg(${change}) from ${series}), 'phone')`;
    const change = (op: string, table: string, id: string, opId: string, data: string) =>
      changes(
        `jsonb_build_object('op', '${op}', 'table', '${table}', 'id', '${id}' || n, 'op_id', '${opId}' || n, 'space_id', 'team', 'data', jsonb_build_object(${data}))`,
      );
    await t.asUser("ada", async (tx) => {
      await tx.query("select perch.set_tenant('acme')");
      await tx.query(change("insert", "tasks", "t", "t", "'n', n"));
      await tx.query(change("update", "tasks", "t", "u", "'m', n"));
      for (const thread of ["'run'", "'thread' || n"])
        await tx.query(
          `select perch.put_checkpoint(thread_id => ${thread}, state => jsonb_build_object('n', n), step => n) from ${series}`,
        );
      await tx.query(
        `select perch.append_thread_events('run', array(select jsonb_build_object('n', n) from ${series}))`,
      );
      await tx.query(`select perch.patch_document('shop', 'pages', 'q' || n, '{"title": "x"}', 'team') from ${series}`);
    });
    await t.db.query(`insert into cards select 'c' || n, 'team', 'x', n from ${series}`);
    await t.asUser("ada", (tx) => tx.query(change("update", "cards", "c", "cu", "'points', n")));
    await t.asUser(`zed${first}`, (tx) =>
      tx.query(`select perch.create_space(space_id => 'space' || n) from ${series}`),
    );
  }
  // Those that the calls name, and as many more as it takes to be many.
  await t.asUser("ada", async (tx) => {
    for (let n = from; n < Math.min(to, 4 * tolerated); n++)
      await store.applyPatch(
        tx,
        { appId: "shop", tableName: "pages", recordId: `p${n}`, spaceId: "team" },
        { title: "x" },
      );
  });
  await t.db.query(`select perch.enter_presence('${node}')`);
  const presence = await one<string>(t.db, putPresence(from, to - 1));
  await sequence(t.db);
  return { ...(await ends(t)), presence, event: to - 1 };
}

/** The one value that a query gives. */
async function one<T>(db: Queryable, text: string, values: unknown[] = []): Promise<T> {
  const [found] = await db.query<Record<string, T>>(text, values);
  return Object.values(found ?? {})[0] as T;
}

async function ends(t: TestDatabase): Promise<Pick<Places, "cursor" | "readerCursor" | "readerPage" | "position">> {
  let cursor = "{}";
  await t.asUser("ada", async (tx) => {
    for (let more = true; more; ) {
      const pulled = await one<{ cursor: object; has_more: boolean }>(
        tx,
        "select perch.pull(app_id => 'shop', cursor => $1)",
        [cursor],
      );
      cursor = JSON.stringify(pulled.cursor);
      more = pulled.has_more;
    }
  });
  const pageBehind = (after: string | null) =>
    one<{ cursor: object; next: string | null }>(
      t.db,
      "select perch.read_log_snapshot(reader => 'search', after => $1, page_size => $2)",
      [after, after === null ? 2 : 10_000],
    );
  const first = await pageBehind(null);
  let last = first;
  while (last.next !== null) last = await pageBehind(last.next);
  return {
    cursor,
    readerCursor: JSON.stringify(last.cursor),
    readerPage: first.next ?? "",
    position: await one(t.db, "select perch.log_position()::text"),
  };
}

describeEachPostgres("what a call reads", (open) => {
  it("does not grow with what is there, whatever the planner knows of it", async () => {
    const t = await open();
    const session = () => {
      const db = openPostgres({ url: t.url ?? "", poolSize: 1 });
      onTestFinished(() => db.close());
      return db;
    };
    await begin(t);
    let places = await grow(t, 0, few);
    const old = session();
    let withFew = await measure(old, places);
    // As often as it takes Postgres to keep a plan.
    for (let n = 0; n < 6; n++) withFew = await measure(old, places);
    places = await grow(t, few, many);

    const grown = new Map<string, string[]>();
    const look = async (when: string, db: Database) => {
      const found = [...(await measure(db, places))].filter(
        ([name, rows]) => rows > (withFew.get(name) ?? 0) + tolerated,
      );
      grown.set(
        when,
        found.map(([name, rows]) => `${name}, ${withFew.get(name) ?? 0} → ${rows} rows`),
      );
    };
    await look("plans made when there was little", old);
    await look("no statistics", session());
    await t.db.query("analyze");
    await look("statistics", session());

    const searched = Object.keys(search).map((name) => `${name}: perch.stored_records`);
    for (const [when, found] of grown) {
      const names = found.map((each) => each.replace(/, \d+ → .*/, ""));
      expect(names, `${when}; searches are found`).toEqual(expect.arrayContaining(searched));
      expect(
        found.filter((_, n) => !searched.includes(names[n] ?? "")),
        when,
      ).toEqual([]);
    }
  });
});
