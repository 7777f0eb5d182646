import { openDatabase } from "../../../src/database/open.js";
import { perchProcess } from "../../support/perch-process.js";
import type { BenchmarkOptions } from "../benchmark.js";
import { type Race, race, type Work } from "../race.js";
import { all, change, connect, pushSql } from "./writers.js";

const writers = 32;
const many = Array.from({ length: writers }, (_, n) => `quiet${n}`);

/** One busy space against 32 quiet ones, pushed to by as many connections, and by as many HTTP clients; a `perch start` is at work. */
export async function busy(options: BenchmarkOptions, url: string): Promise<{ sql: Race; http: Race }> {
  const db = await openDatabase(url);
  await db.query(
    `insert into perch.spaces (space_id, created_by) select s, 'user0' from unnest($1::text[]) s on conflict do nothing`,
    [["busy", ...many]],
  );
  await db.query(
    `insert into perch.space_members (space_id, user_id, role)
     select s, 'user' || n, 'editor' from unnest($1::text[]) s cross join generate_series(0, $2) n on conflict do nothing`,
    [["busy", ...many], writers - 1],
  );
  const served = await perchProcess({ env: { DATABASE_URL: url } });
  await served.start();
  const connections = await connect(url, writers);
  try {
    const bySql = (spaceOf: (user: string) => string) =>
      all(connections, 1, async (client, user) => {
        const values = [user, JSON.stringify([change(spaceOf(user))])];
        const { rows } = await client.query({ name: "push", text: pushSql, values });
        if (rows[0].result.results[0].status !== "applied") throw new Error(JSON.stringify(rows[0].result));
      });
    const byHttp =
      (spaceOf: (user: string) => string): Work =>
      async (deadline) => {
        let done = 0;
        await Promise.all(
          many.map(async (_, nth) => {
            const user = `user${nth}`;
            while (performance.now() < deadline) {
              const answer = await fetch(`${served.httpUrl}/v1/push`, {
                method: "POST",
                headers: { authorization: `Bearer ${user}` },
                body: JSON.stringify({ app_id: "bench", client_id: "device", changes: [change(spaceOf(user))] }),
              });
              const text = await answer.text();
              if (!text.includes('"applied"')) throw new Error(`${answer.status} ${text}`);
              done++;
            }
          }),
        );
        return done;
      };
    const own = (user: string) => user.replace("user", "quiet");
    const sql = await race(
      options,
      bySql(() => "busy"),
      bySql(own),
    );
    const http = await race(
      options,
      byHttp(() => "busy"),
      byHttp(own),
    );
    return { sql, http };
  } finally {
    await connections.close();
    await served.stop();
    await db.close();
  }
}
