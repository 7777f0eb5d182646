import { randomBytes } from "node:crypto";
import pg from "pg";
import type { Work } from "../race.js";

/** An id that grows with time, as apps that keep many rows make them (UUIDv7): random ones touch another page each. */
function newId(): string {
  const hex = Date.now().toString(16).padStart(12, "0") + randomBytes(10).toString("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-7${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`;
}

/** A change as an app would send it: made offline at a time of its own, and safe to repeat. */
export function change(spaceId?: string): Record<string, unknown> {
  return {
    op: "insert",
    table: "tasks",
    id: newId(),
    data: { title: "Buy milk", done: false, position: 12, note: "the good one, from the market" },
    at: new Date(Date.now() - 1000).toISOString(),
    op_id: newId(),
    ...(spaceId === undefined ? {} : { space_id: spaceId }),
  };
}

/** The row that such a change makes in the log. */
function row(userId: string): unknown[] {
  const made = change();
  return [
    `~${userId}`,
    Math.floor(Math.random() * 2 ** 48),
    "bench",
    made.table,
    made.id,
    made.op,
    JSON.stringify(made.data),
    made.at,
    userId,
    "device",
    made.op_id,
  ];
}

const columns = "space_id, seq, app_id, table_name, record_id, op, data, at, user_id, client_id, op_id";
const types = ["text", "bigint", "text", "text", "text", "text", "jsonb", "timestamptz", "text", "text", "text"];

/** What the change log is measured against. */
export const yardsticks = `
  create schema yard;
  create table yard.bare (like perch.sync_changes including defaults, primary key (space_id, seq));
  create table yard.guarded (like perch.sync_changes including defaults, primary key (space_id, seq));
  create index on yard.guarded (user_id, created_at);
  create index on yard.guarded (space_id, app_id, table_name, record_id);
  create index on yard.guarded (op_id);
  alter table yard.guarded enable row level security;
  alter table yard.guarded force row level security;
  create policy guard on yard.guarded
    using (space_id = any (string_to_array(current_setting('app.current_user_space_ids', true), ',')))
    with check (user_id = current_setting('app.current_user_id', true));
  grant usage on schema yard to perch_app;
  grant insert on yard.bare, yard.guarded to perch_app;
`;

export interface Connections {
  clients: pg.Client[];
  close(): Promise<void>;
}

export async function connect(url: string, count: number): Promise<Connections> {
  const clients = await Promise.all(
    Array.from({ length: count }, async () => {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      // As an app's login does; a superuser would pass by the policies of the tables it is measured against.
      await client.query("set role perch_app");
      return client;
    }),
  );
  return { clients, close: async () => void (await Promise.all(clients.map((client) => client.end()))) };
}

/** Every connection repeats the step until the deadline; a step does `units`. */
export function all(
  { clients }: Connections,
  units: number,
  step: (client: pg.Client, user: string) => Promise<unknown>,
): Work {
  return async (deadline, took) => {
    let done = 0;
    await Promise.all(
      clients.map(async (client, index) => {
        for (let now = performance.now(); now < deadline; ) {
          await step(client, `user${index}`);
          const then = performance.now();
          took(then - now);
          now = then;
          done += units;
        }
      }),
    );
    return done;
  };
}

export const pushSql =
  "select perch.push(app_id => 'bench', changes => $2::jsonb, client_id => 'device') as result from perch.set_context(user_id => $1)";

/** One statement, one transaction: names the user and pushes. */
export function push(count: number, spaceId?: (user: string) => string) {
  return async (client: pg.Client, user: string) => {
    const changes = Array.from({ length: count }, () => change(spaceId?.(user)));
    const { rows } = await client.query({ name: "push", text: pushSql, values: [user, JSON.stringify(changes)] });
    if (rows[0].result.results.at(-1).status !== "applied") throw new Error(JSON.stringify(rows[0].result));
  };
}

/** One bare INSERT of as many rows. */
export function bareInsert(count: number) {
  const rows = Array.from(
    { length: count },
    (_, index) => `(${types.map((type, column) => `$${index * types.length + column + 1}::${type}`).join(", ")})`,
  );
  const text = `insert into yard.bare (${columns}) values ${rows.join(", ")}`;
  return (client: pg.Client, user: string) =>
    client.query({ name: `bare${count}`, text, values: Array.from({ length: count }, () => row(user)).flat() });
}

/** What an app without perch does for one row: five statements. */
export async function fiveStatements(client: pg.Client, user: string): Promise<void> {
  await client.query("begin");
  await client.query({ name: "user", text: "select set_config('app.current_user_id', $1, true)", values: [user] });
  await client.query({
    name: "spaces",
    text: "select set_config('app.current_user_space_ids', $1, true)",
    values: [`~${user}`],
  });
  await client.query({
    name: "guarded",
    text: `insert into yard.guarded (${columns}) values (${types.map((type, column) => `$${column + 1}::${type}`).join(", ")})`,
    values: row(user),
  });
  await client.query("commit");
}
