import pg from "pg";
import { quantile } from "../../support/figures.js";

const perSecond = 500;

/** How long it takes a reader who is told to have what was written: `captured` through the log, and a bare LISTEN and SELECT. */
export async function delays(url: string, seconds: number) {
  const captured = await measure(url, seconds, {
    channel: "perch_changes",
    write: (id) => ({
      name: "w",
      text: "insert into synced (team, title, done, points) values ('delays', 'x', false, $1)",
      values: [id],
    }),
    read: "select (data ->> 'points')::int as n from perch.sync_changes where space_id = 'delays' and seq > $1 order by seq",
  });
  const bare = await measure(url, seconds, {
    channel: "bare",
    write: (id) => ({
      name: "w",
      text: "with i as (insert into plain (team, title, done, points) values ('delays', 'x', false, $1) returning 1) select pg_notify('bare', '') from i",
      values: [id],
    }),
    read: "select points as n from plain where team = 'delays' and points > $1 order by points",
  });
  return { captured, bare, beyondBare: (share: number) => quantile(captured, share) - quantile(bare, share) };
}

interface Way {
  readonly channel: string;
  write(id: number): pg.QueryConfig;
  readonly read: string;
}

async function measure(url: string, seconds: number, { channel, write, read }: Way): Promise<number[]> {
  const writer = new pg.Client({ connectionString: url });
  const reader = new pg.Client({ connectionString: url });
  await Promise.all([writer.connect(), reader.connect()]);
  const committed = new Map<number, number>();
  const took: number[] = [];
  const base = Math.floor(Math.random() * 1e6) * 1_000;
  let position = 0;
  if (channel === "bare") position = base - 1;
  let reading = false;
  let again = false;
  async function look(): Promise<void> {
    again = true;
    if (reading) return;
    reading = true;
    while (again) {
      again = false;
      const { rows } = await reader.query({ name: "r", text: read, values: [position] });
      const now = performance.now();
      for (const { n } of rows) {
        const at = committed.get(n);
        if (at !== undefined) took.push(now - at);
        committed.delete(n);
      }
      position = channel === "bare" ? Math.max(position, ...rows.map(({ n }) => n)) : position + rows.length;
    }
    reading = false;
  }
  reader.on("notification", () => void look());
  const { rows } = await reader.query(
    "select coalesce(max(seq), 0)::int as seq from perch.sync_changes where space_id = 'delays'",
  );
  if (channel !== "bare") position = rows[0].seq;
  await reader.query(`listen ${channel}`);
  const until = performance.now() + seconds * 1_000;
  let next = performance.now();
  for (let id = base; performance.now() < until; id++) {
    await writer.query(write(id));
    committed.set(id, performance.now());
    next += 1_000 / perSecond;
    const rest = next - performance.now();
    if (rest > 0) await new Promise((done) => setTimeout(done, rest));
  }
  for (const end = performance.now() + 5_000; committed.size > 0 && performance.now() < end; ) {
    await new Promise((done) => setTimeout(done, 20));
    await look();
  }
  await Promise.all([writer.end(), reader.end()]);
  return took;
}
