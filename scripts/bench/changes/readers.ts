import type pg from "pg";
import type { Work } from "../race.js";

/** As text, which is what perch's own pull and gateway ask for, or as jsonb, for what is done with it in SQL. */
export const pullSql = (as: "text" | "jsonb"): string =>
  `select perch.${as === "text" ? "pull_text" : "pull"}(app_id => 'bench', cursor => $2::jsonb, page_size => 1000) as page
     from perch.set_context(user_id => $1)`;

interface Page {
  changes: unknown[];
  cursor: unknown;
  has_more: boolean;
}

/** Pulls from the beginning to the end of the log, again and again. */
export function pullAll(client: pg.Client, user: string, as: "text" | "jsonb" = "text"): Work {
  return async (deadline) => {
    let done = 0;
    while (performance.now() < deadline) {
      let page: Page = { changes: [], cursor: {}, has_more: true };
      while (page.has_more) {
        const { rows } = await client.query({
          name: `pull ${as}`,
          text: pullSql(as),
          values: [user, JSON.stringify(page.cursor)],
        });
        page = as === "text" ? JSON.parse(rows[0].page) : rows[0].page;
        done += page.changes.length;
      }
    }
    return done;
  };
}

/** Reads the same rows as JSON in one statement. */
export function selectAll(client: pg.Client, space: string): Work {
  const text = "select to_jsonb(c) as change from perch.sync_changes c where c.space_id = $1 order by c.seq";
  return async (deadline) => {
    let done = 0;
    while (performance.now() < deadline)
      done += (await client.query({ name: "select", text, values: [space] })).rows.length;
    return done;
  };
}

/**
 * A log of so many changes in so many spaces, evenly, as if each was pushed by itself. "reader" is a member of five of them.
 */
export function fill(changes: number, spaces: number): string {
  return `
    set session_replication_role = replica;
    insert into perch.space_heads (space_id, seq) select 's' || s, ${changes / spaces} from generate_series(1, ${spaces}) s;
    insert into perch.sync_changes (space_id, seq, app_id, table_name, record_id, op, data, at, user_id, client_id, op_id, txid)
      select 's' || s, n, 'bench', 'tasks', gen_random_uuid()::text, 'insert',
             jsonb_build_object('title', 'Buy milk', 'done', false, 'position', n, 'note', 'the good one, from the market'),
             now(), 'writer' || s, 'device', gen_random_uuid()::text, (n::bigint * ${spaces} + s)::text::xid8
        from generate_series(1, ${changes / spaces}) n, generate_series(1, ${spaces}) s;
    insert into perch.stored_records (space_id, app_id, table_name, record_id, data, latest_at, written_at, inserted_at, seq, user_id)
      select space_id, app_id, table_name, record_id, data, at, at, at, seq, user_id from perch.sync_changes;
    insert into perch.push_receipts (space_id, op_id, digest, created_at)
      select '~' || user_id, op_id, '\\x00', created_at from perch.sync_changes;
    insert into perch.spaces (space_id, created_by) select 's' || s, 'writer' || s from generate_series(1, ${spaces}) s;
    insert into perch.space_members (space_id, user_id, role) select 's' || s, 'reader', 'editor' from generate_series(1, ${spaces}, ${Math.ceil(spaces / 5)}) s;
    insert into perch.space_members (space_id, user_id, role) select 's' || s, 'user0', 'editor' from generate_series(1, 5) s;
    set session_replication_role = default;
  `;
}
