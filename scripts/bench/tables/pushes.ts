import { randomBytes } from "node:crypto";
import pg from "pg";
import type { Work } from "../race.js";

/** A table that clients write, and the same without perch. */
export const pushed = `
  create table pushed (id text primary key, team text not null, title text not null, points int not null);
  create table unpushed (like pushed including all);`;

export const syncPushed =
  "select perch.sync_table(relation => 'pushed', app_id => 'bench', space_column => 'team', writable_columns => '{title,points}')";

export type Pushed = "typed rows" | "plain records" | "without perch";

interface Row {
  id: string;
  title: string;
  points: number;
}

const context = "select perch.set_context(user_id => 'ada', space_ids => '{team}', writable_space_ids => '{team}')";

async function push(client: pg.Client, table: string, rows: Row[]): Promise<void> {
  const changes = rows.map(({ id, title, points }) => ({
    op: "insert",
    table,
    id,
    space_id: "team",
    op_id: id,
    data: { title, points },
  }));
  await client.query("begin");
  await client.query({ name: "context", text: context });
  const { rows: answers } = await client.query<{ applied: boolean }>({
    name: "push",
    text: `select not jsonb_path_exists(perch.push('bench', $1, 'phone'), '$.results[*] ? (@.status != "applied")') as applied`,
    values: [JSON.stringify(changes)],
  });
  if (!answers[0]?.applied) throw new Error(`a change of ${table} was not applied`);
  await client.query("commit");
}

async function insert(client: pg.Client, rows: Row[]): Promise<void> {
  await client.query({
    name: `insert ${rows.length}`,
    text: `insert into unpushed (id, team, title, points) values ${rows
      .map((_, nth) => `($${3 * nth + 1}, 'team', $${3 * nth + 2}, $${3 * nth + 3})`)
      .join(", ")}`,
    values: rows.flatMap(({ id, title, points }) => [id, title, points]),
  });
}

/** One connection that writes so many rows at a time; its units are rows. */
export async function pushing(url: string, what: Pushed, count: number): Promise<Work & { end(): Promise<void> }> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const work: Work = async (deadline, took) => {
    let done = 0;
    while (performance.now() < deadline) {
      const key = randomBytes(8).toString("hex");
      const rows = Array.from({ length: count }, (_, nth) => ({
        id: `${key}-${nth}`,
        title: `Buy milk ${nth}`,
        points: nth,
      }));
      const started = performance.now();
      if (what === "without perch") await insert(client, rows);
      else await push(client, what === "typed rows" ? "pushed" : "notes", rows);
      took(performance.now() - started);
      done += count;
    }
    return done;
  };
  return Object.assign(work, { end: () => client.end() });
}
