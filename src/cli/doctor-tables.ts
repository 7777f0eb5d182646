import { type Check, type Finding, ok, warning, wrong } from "./finding.js";

/** Changes that have waited longer than this for a number are late. */
const lateSeconds = 10;

interface Table {
  relation: string;
  app_id: string;
  problems: string[];
}

/** Synced tables: whether all that is written to them is captured, and can be read. */
export const syncedTables: Check = async (db) => {
  const tables = await db.query<Table>(
    "select relation::text as relation, app_id, problems from perch.synced_tables order by app_id, table_name",
  );
  if (tables.length === 0) return [];
  const broken = tables.flatMap(({ relation, app_id, problems }): Finding[] =>
    problems.map((problem) =>
      wrong(
        "synced tables",
        `${relation} (app ${app_id}): ${problem}`,
        problem === "the table was dropped"
          ? `select perch.unsync_table(relation => ${relation})`
          : "call perch.sync_table again with the same options; clients that may have missed changes resync (perch.new_epoch)",
      ),
    ),
  );
  return broken.length > 0 ? broken : [ok("synced tables", `${tables.length}, and every change of them is captured`)];
};

interface Refused {
  document: string;
  code: string;
  message: string;
}

/** Documents in columns: what people typed and the table did not take. */
export const refusedColumns: Check = async (db) => {
  const refused = await db.query<Refused>(
    `select concat_ws('/', space_id, app_id, table_name, record_id) as document, refused ->> 'code' as code, refused ->> 'message' as message
       from perch.row_documents where refused is not null order by 1 limit 6`,
  );
  const unmerged = await db.query<Refused>(
    `select concat_ws('/', space_id, app_id, table_name, record_id) as document, error ->> 'code' as code, error ->> 'message' as message
       from perch.column_writes where error is not null order by 1 limit 6`,
  );
  const kept = unmerged.map(({ document, code, message }) =>
    wrong(
      "documents in columns",
      `${document}: a statement wrote what the document cannot take (${code} ${message})`,
      "the column keeps it and no longer shows what people type: write something that the document can take into it, by SQL",
    ),
  );
  const given = refused.map(({ document, code, message }) =>
    warning(
      "documents in columns",
      `${document}: the table refused what was typed last (${code} ${message})`,
      "editors have been given back what the column has; see whether the constraint is what you want of a text that people type",
    ),
  );
  return [...kept, ...given];
};

/** The sequencer, and the spaces that wait for a counter. */
export const sequencing: Check = async (db) => {
  const [waiting] = await db.query<{ oldest: number | null; line: string[] | null }>(
    `select extract(epoch from clock_timestamp() - (select min(c.captured_at) from (
              select x.captured_at from perch.captured_changes x where x.queued is null order by x.ordinal limit 100) c))::float8 as oldest,
            (select array_agg(distinct q.space_id) from (
              select x.space_id from perch.captured_changes x
               where x.queued is not null and x.captured_at < clock_timestamp() - make_interval(secs => $1) limit 1000) q) as line`,
    [lateSeconds],
  );
  const findings: Finding[] = [];
  if (waiting?.oldest != null && waiting.oldest > lateSeconds) {
    findings.push(
      warning(
        "sequencer",
        `changes of synced tables have waited ${Math.round(waiting.oldest)} s for their numbers`,
        "see whether a perch worker runs, and whether a transaction holds the row of perch.sequencer",
      ),
    );
  }
  if (waiting?.line != null) {
    findings.push(
      warning(
        "sequencer",
        `changes of synced tables wait for the counters of ${waiting.line.length} spaces (${waiting.line.slice(0, 5).join(", ")})`,
        "end the transactions that have pushed to them and were left open",
      ),
    );
  }
  const stuck = await db.query<{ space: string; reason: string }>(
    "select e.key as space, e.value ->> 'reason' as reason from perch.sequencer s cross join lateral jsonb_each(s.stuck) e order by 1 limit 6",
  );
  for (const { space, reason } of stuck) {
    findings.push(
      wrong(
        "sequencer",
        `the log does not take changes of synced tables in the space ${space} (${reason})`,
        "the other spaces go on; what waits is in perch.captured_changes, and is tried again each minute: mend what the reason names",
      ),
    );
  }
  return findings;
};
