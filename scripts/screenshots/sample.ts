import type { Database, Transaction } from "../../src/database/types.js";

const as = (db: Database, user: string, work: (tx: Transaction) => Promise<unknown>) =>
  db.transaction(async (tx) => {
    await tx.query("select perch.set_context(user_id => $1)", [user]);
    await work(tx);
  });

const titles = [
  ["Varnish the oars", "Order rope, 12 mm", "Ask about the mooring", "Count the life vests", "Repair the tiller"],
  ["Chart of the estuary", "Tide tables for May", "Paint the hull", "New lamp for the pier", "Check the bilge pump"],
].flat();

/** A small harbour's data, of every kind that the console shows. In: a database just migrated, as a superuser; a worker merges meanwhile. */
export async function makeSample(db: Database): Promise<void> {
  await db.query(
    `select perch.declare_table(app_id => 'notes', table_name => 'pages', fields => '{"title": "string", "body": "text", "tags": "list"}')`,
  );
  for (const space of ["atlas", "harbour"]) {
    await as(db, "ines", async (tx) => {
      await tx.query("select perch.create_space(space_id => $1)", [space]);
      await member(tx, space, "tom", "editor");
      await member(tx, space, "vera", "viewer");
    });
  }
  await db.query(
    "create table public.boats (id int primary key, space_id text not null, name text not null, berth int, notes text)",
  );
  // Those of many years, which were there before: enough for a filter without an index to take long.
  await db.query(
    `insert into public.boats select n, 'harbour', 'Boat ' || n, n % 40, repeat('Paid until May. Rope and lamp are its own. ', 10)
       from generate_series(9, 20000) n`,
  );
  await db.query("analyze public.boats");
  await db.query(
    "select perch.sync_table(relation => 'public.boats', app_id => 'harbour', space_column => 'space_id', writable_columns => '{name,berth}')",
  );
  for (const [nth, title] of titles.entries()) {
    const [user, client] = nth % 3 === 0 ? (["tom", "phone-7f2a"] as const) : (["ines", "laptop-c31d"] as const);
    await as(db, user, (tx) => push(tx, client, "insert", `task-${nth + 1}`, { title, done: false, berth: nth + 3 }));
    if (nth % 2 === 0)
      await as(db, "ines", (tx) => push(tx, "laptop-c31d", "update", `task-${nth + 1}`, { done: true }));
  }
  await as(db, "tom", (tx) => push(tx, "phone-7f2a", "delete", "task-4"));
  await as(db, "ines", (tx) =>
    tx.query("insert into public.boats select n, 'harbour', 'Boat ' || n, n + 10, null from generate_series(1, 8) n"),
  );
  await as(db, "ines", (tx) =>
    tx.query(
      `select perch.patch_document(app_id => 'notes', table_name => 'pages', record_id => 'log-book', space_id => 'harbour',
         patch => '{"title": "Log book", "body": "Wind from the west, four.\\nTwo boats out, both back by six.", "tags": ["daily", "weather"]}')`,
    ),
  );
  // What no document can take: it names itself an update, and is none.
  await as(db, "tom", (tx) =>
    tx.query(
      `select perch.push_update(app_id => 'notes', table_name => 'pages', record_id => 'log-book', space_id => 'harbour',
         update => decode('6c6f726f' || repeat('00', 40), 'hex'), client_id => 'phone-7f2a')`,
    ),
  );
  await db.transaction(makeThreads);
}

const member = (tx: Transaction, space: string, user: string, role: string) =>
  tx.query("select perch.set_space_member(space_id => $1, user_id => $2, role => $3)", [space, user, role]);

async function push(tx: Transaction, client: string, op: string, id: string, data?: object): Promise<void> {
  const change = { op, table: "tasks", id, space_id: "harbour", ...(data && { data }) };
  await tx.query("select perch.push(app_id => 'todo', changes => $1::jsonb, client_id => $2)", [
    JSON.stringify([change]),
    client,
  ]);
}

/** Runs of an agent: one that went back once and took another way, and two that did not. */
async function makeThreads(tx: Transaction): Promise<void> {
  await tx.query("select perch.set_tenant(tenant_id => 'agents')");
  const put = async (thread: string, step: number, parent: string | null, next: string | null, state: object) => {
    const [row] = await tx.query<{ id: string }>(
      "select perch.put_checkpoint(thread_id => $1, state => $2::jsonb, step => $3, parent_id => $4, next_node => $5) as id",
      [thread, JSON.stringify(state), step, parent, next],
    );
    return row?.id ?? null;
  };
  const nodes = ["plan", "search", "read", "draft", "review", null];
  const ids: (string | null)[] = [];
  const stateOf = (step: number) => ({
    question: "Which berth is free in May?",
    found: ["berth 12", "berth 14", "berth 15"].slice(0, step),
    draft: step < 4 ? null : "Berth 14 is free from the 3rd.",
    tokens: 120 * step,
  });
  for (const [step, next] of nodes.entries()) {
    ids.push(await put("run-2041", step, ids.at(-1) ?? null, next, stateOf(step)));
  }
  let at = ids[2] ?? null;
  for (const [nth, next] of ["ask", "draft", null].entries()) {
    at = await put("run-2041", nth + 3, at, next, { ...stateOf(nth + 3), asked: "the harbour master" });
  }
  let last = await put("run-2040", 0, null, "plan", { question: "Is the lamp mended?" });
  last = await put("run-2040", 1, last, null, { question: "Is the lamp mended?", answer: "Since Tuesday." });
  await put("run-2039", 0, null, "plan", { question: "Who owns Boat 7?" });
  await tx.query(
    "select perch.acquire_lease(thread_id => 'run-2041', holder => 'worker-eu-1', duration => '10 minutes')",
  );
}
