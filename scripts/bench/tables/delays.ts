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
    last: "select coalesce(max(seq), 0)::int as at from perch.sync_changes where space_id = 'delays'",
    read: "select (data ->> 'points')::int as n, seq::int as at from perch.sync_changes where space_id = 'delays' and seq > $1 order by seq",
  });
  const bare = await measure(url, seconds, {
    channel: "bare",
    write: (id) => ({
      name: "w",
      text: "with i as (insert into told (team, title, done, points) values ('delays', 'x', false, $1) returning 1) select pg_notify('bare', '') from i",
      values: [id],
    }),
    last: "select coalesce(max(id), 0)::int as at from told",
    read: "select points as n, id::int as at from told where id > $1 order by id",
  });
  return { captured, bare, beyondBare: (share: number) => quantile(captured, share) - quantile(bare, share) };
}

interface Way {
  readonly channel: string;
  write(id: number): pg.QueryConfig;
  /** The greatest position that there is (at). */
  readonly last: string;
  /** What lies behind a position: n, what was written, and at, its position. */
  readonly read: string;
}

async function measure(url: string, seconds: number, { channel, write, last, read }: Way): Promise<number[]> {
  const writer = new pg.Client({ connectionString: url });
  const reader = new pg.Client({ connectionString: url });
  await Promise.all([writer.connect(), reader.connect()]);
  const committed = new Map<number, number>();
  const took: number[] = [];
  let position: number = (await reader.query(last)).rows[0].at;
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
      position = rows.at(-1)?.at ?? position;
    }
    reading = false;
  }
  reader.on("notification", () => void look());
  await reader.query(`listen ${channel}`);
  const until = performance.now() + seconds * 1_000;
  let next = performance.now();
  for (let id = 0; performance.now() < until; id++) {
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
  reader.removeAllListeners("notification");
  while (reading) await new Promise((done) => setTimeout(done, 5));
  await Promise.all([writer.end(), reader.end()]);
  return took;
}
