import { NoAnswer, within } from "../database/answers.js";
import { catalogDifferences } from "../database/catalog-differences.js";
import { lacksRight } from "../database/errors.js";
import { readMigrationSources } from "../database/migration-sources.js";
import { canServe, migrationStatus } from "../database/migration-status.js";
import { moveState, refusalOf } from "../database/moving/ends.js";
import type { Database } from "../database/types.js";
import { type Lost, lostInWords } from "../worker/history.js";
import { serverChecks, standingInTheWay } from "./doctor-server.js";
import { commits, notificationQueue, settings } from "./doctor-sessions.js";
import { refusedColumns, sequencing, syncedTables } from "./doctor-tables.js";
import { type Check, type Finding, ok, warning, wrong } from "./finding.js";

/** Looks at everything, in this order. A server that nothing else can be asked of, and a database never migrated, is examined no further. */
export async function examine(db: Database, { longSeconds = 60, checkMs = 20_000 } = {}): Promise<Finding[]> {
  const version = await serverVersion(db);
  const obstacle = await standingInTheWay(db);
  if (obstacle !== undefined) return [...version, obstacle];
  const [schema] = await db.query<{ there: boolean }>("select to_regclass('perch.documents') is not null as there");
  if (!schema?.there) return [...version, wrong("schema", "there is no perch in this database", "perch migrate up")];
  const findings = [...version];
  for (const check of [
    moving,
    migrations,
    catalog,
    roles,
    rowSecurity,
    login,
    applications,
    settings,
    durability,
    commits,
    ...(db.kind === "postgres" ? serverChecks(longSeconds) : []),
    listening,
    notificationQueue,
    pending,
    setAside,
    projections,
    syncedTables,
    refusedColumns,
    sequencing,
    history,
    upgrades,
  ]) {
    // What one waits for (a lock, a commit that does not end) is told by others.
    findings.push(...(await within(checkMs, check(db)).catch((error: unknown) => [failure(check.name, error)])));
  }
  return findings;
}

function failure(name: string, error: unknown): Finding {
  const { message } = error as { message?: unknown };
  const remedy = lacksRight(error)
    ? "run it as a login that is a member of perch_worker"
    : error instanceof NoAnswer
      ? "see what it waits for: select * from pg_stat_activity where state <> 'idle'"
      : "see the message";
  return wrong(name, `could not be checked: ${String(message ?? error)}`, remedy);
}

/** Whether the database is in the midst of a move, or was left by one. */
const moving: Check = async (db) => {
  const state = await moveState(db);
  if (state === undefined) return [];
  const refusal = refusalOf(state);
  if (refusal !== undefined) return [wrong("move", refusal, "see docs/operations.md, Moving to a server")];
  return [
    warning(
      "move",
      `this database is being moved to ${state.other}${state.phase === "fenced" ? ", and takes no writes" : ""}`,
      "if nobody is at it any more: perch move again, or perch move --abort",
    ),
  ];
};

const serverVersion: Check = async (db) => {
  const [row] = await db.query<{ version: string; number: number; encoding: string }>(
    `select current_setting('server_version') as version, current_setting('server_version_num')::int as number,
            current_setting('server_encoding') as encoding`,
  );
  const major = Math.floor((row?.number ?? 0) / 10_000);
  const detail = `${db.kind === "pglite" ? "PGlite, " : ""}PostgreSQL ${row?.version}`;
  if (row?.encoding !== "UTF8") {
    const remedy = "create database app encoding 'UTF8' template template0, and move what is here to it";
    return [wrong("server", `${detail}, and the database is of encoding ${row?.encoding}: perch needs UTF8`, remedy)];
  }
  if (major < 15) return [wrong("server", detail, "upgrade to PostgreSQL 15 or later")];
  if (major > 18) return [warning("server", `${detail}, which perch was not tested on`, "use PostgreSQL 15 to 18")];
  return [ok("server", detail)];
};

const migrations: Check = async (db) => {
  const status = await migrationStatus(db);
  const { pending, changedFiles, breaking, newer } = status;
  if (breaking.length > 0)
    return [wrong("migrations", `the database is newer: it has had ${breaking.join(", ")}`, "upgrade perch")];
  if (newer && canServe(status))
    return [warning("migrations", "a later version of perch has migrated it; this one runs on it", "upgrade perch")];
  const missing = [...pending, ...changedFiles];
  if (missing.length > 0) return [wrong("migrations", `not up to date: ${missing.join(", ")}`, "perch migrate up")];
  return [ok("migrations", "up to date")];
};

const shown = 20;

/** What the database has, against what migrating makes: hashes alone would only say what perch once wrote down. */
export const catalog = async (db: Database, root?: string): Promise<Finding[]> => {
  // What a later version has made this one cannot judge.
  if ((await migrationStatus(db)).newer) return [];
  const sources = await readMigrationSources(root);
  if (sources.catalog === undefined) {
    const detail = "could not be compared: docs/schema.txt, which says what it should be, is not beside sql/";
    return [warning("catalog", detail, "install the package whole, with its folder docs")];
  }
  const differences = await catalogDifferences(db, sources);
  if (differences.length === 0)
    return [ok("catalog", "is what perch makes it: owners, rights, policies, triggers, functions")];
  const sorted = differences.sort((a, b) => Number(b.level === "error") - Number(a.level === "error"));
  const findings = sorted
    .slice(0, shown)
    .map(({ level, detail, remedy }) => ({ name: "catalog", level, detail, remedy }));
  if (differences.length <= shown) return findings;
  return [
    ...findings,
    wrong("catalog", `and ${differences.length - shown} more`, "perch migrate up, then perch doctor again"),
  ];
};

const roles: Check = async (db) => {
  const strong = await db.query<{ name: string }>(
    `select rolname as name from pg_roles
      where rolname in ('perch_owner', 'perch_app', 'perch_worker') and (rolsuper or rolbypassrls)`,
  );
  return strong.length === 0
    ? [ok("roles", "none of perch's roles is above row level security")]
    : strong.map(({ name }) =>
        wrong("roles", `${name} bypasses row level security`, `alter role ${name} nosuperuser nobypassrls`),
      );
};

const rowSecurity: Check = async (db) => {
  const open = await db.query<{ name: string }>(
    `select c.relname as name from pg_class c
      where c.relnamespace = 'perch'::regnamespace and c.relkind in ('r', 'p') and not (c.relrowsecurity and c.relforcerowsecurity)`,
  );
  return open.length === 0
    ? [ok("row level security", "forced on every table")]
    : open.map(({ name }) =>
        wrong("row level security", `not forced on perch.${name}`, "perch migrate up, and see who switched it off"),
      );
};

const login: Check = async (db) => {
  const [row] = await db.query<{ name: string; super: boolean; bypasses: boolean; app: boolean; worker: boolean }>(
    `select session_user::text as name, r.rolsuper as super, r.rolsuper or r.rolbypassrls as bypasses,
            pg_has_role(session_user, 'perch_app', 'USAGE') as app, pg_has_role(session_user, 'perch_worker', 'USAGE') as worker
       from pg_roles r where r.rolname = session_user`,
  );
  if (!row) return [];
  if (row.bypasses && db.kind === "postgres") {
    return [
      warning(
        "login",
        `${row.name} ${row.super ? "is a superuser" : "has BYPASSRLS"}: what it selects from perch's tables itself is not under row level security`,
        "let the application log in as a role that has only perch_app, and the worker as one with perch_worker and perch_app",
      ),
    ];
  }
  const lacking = [row.app ? [] : ["perch_app"], row.worker ? [] : ["perch_worker"]].flat();
  if (lacking.length === 0 || row.super) return [ok("login", `${row.name} may serve`)];
  return [
    warning(
      "login",
      `${row.name} lacks ${lacking.join(" and ")}`,
      `grant ${lacking.join(", ")} to "${row.name}", if it is to serve`,
    ),
  ];
};

/** Who inherits perch_worker is bound by no policy, also while it names a user. Perch's own processes are to; they say who they are. */
const applications: Check = async (db) => {
  const found = await db.query<{ name: string }>(
    `select distinct r.rolname::text as name
       from pg_stat_activity a join pg_roles r on r.oid = a.usesysid
      where a.datname = current_database() and a.pid <> pg_backend_pid() and coalesce(a.application_name, '') not like 'perch%'
        and not r.rolsuper and pg_has_role(r.oid, 'perch_app', 'USAGE') and pg_has_role(r.oid, 'perch_worker', 'USAGE')
      order by 1`,
  );
  return found.map(({ name }) =>
    warning(
      "applications",
      `a program other than perch is connected as ${name}, which sees everything, whatever user it names: it inherits perch_worker`,
      `revoke perch_worker from "${name}"; or, for DocumentStore: grant perch_worker to "${name}" with inherit false (Postgres 15: alter role "${name}" noinherit)`,
    ),
  );
};

/**
 * What fsync is off for is a server that is made anew after a crash of the machine: the files may not fit each other then, and nothing says so.
 * Without the other two the last moments are lost, or pages that a file system writes by halves: each has a place where it is meant so.
 */
const durability: Check = async (db) => {
  const off = await db.query<{ name: string }>(
    "select name from pg_settings where name in ('fsync', 'full_page_writes', 'synchronous_commit') and setting = 'off'",
  );
  // PGlite's own folder is synced by perch at each commit.
  if (off.length === 0 || db.kind === "pglite") return [ok("durability", "commits wait for the disk")];
  const names = off.map(({ name }) => name).join(", ");
  if (off.some(({ name }) => name === "fsync")) {
    const detail = `off: ${names}; a crash of the machine can break the whole database`;
    return [wrong("durability", detail, `set ${names} to on`)];
  }
  return [warning("durability", `off: ${names}; a crash can lose what was acknowledged`, `set ${names} to on`)];
};

const patienceMs = 3_000;

/** Behind a transaction-pooling proxy LISTEN succeeds and nothing is ever heard. */
const listening: Check = async (db) => {
  const word = `doctor ${Math.random()}`;
  let hear: (heard: boolean) => void = () => undefined;
  const heard = new Promise<boolean>((resolve) => {
    hear = resolve;
    setTimeout(() => resolve(false), patienceMs).unref();
  });
  const subscription = await db.listen(["perch_doctor"], {
    notify: (_, payload) => payload === word && hear(true),
    ready: () => undefined,
  });
  try {
    await db.query("select pg_notify('perch_doctor', $1)", [word]);
    if (await heard) return [ok("notifications", "are heard")];
    return [
      wrong(
        "notifications",
        "what is notified is not heard on this URL: it goes through a transaction-pooling proxy",
        "give perch a direct URL to listen on: PERCH_LISTEN_URL",
      ),
    ];
  } finally {
    await subscription.close();
  }
};

const pending: Check = async (db) => {
  const [row] = await db.query<{ items: number; oldest: number }>(
    `select count(*) as items, coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)::float8 as oldest
       from (select created_at from perch.document_inbox where status = 'pending' order by created_at limit 10000) i`,
  );
  const { items = 0, oldest = 0 } = row ?? {};
  if (items === 0 || oldest < 10)
    return [ok("inbox", items === 0 ? "nothing waits to be merged" : `${items} being merged`)];
  return [
    warning(
      "inbox",
      `${items === 10_000 ? "10000 or more" : items} updates wait to be merged, the oldest for ${Math.round(oldest)} s`,
      "start perch worker, or see its log",
    ),
  ];
};

const setAside: Check = async (db) => {
  const items = await db.query<{
    space_id: string;
    app_id: string;
    table_name: string;
    record_id: string;
    seq: number;
    message: string | null;
    user_id: string;
  }>(
    `select space_id, app_id, table_name, record_id, seq, error ->> 'message' as message, user_id
       from perch.document_inbox where status = 'rejected' order by created_at desc limit ${shown + 1}`,
  );
  if (items.length === 0) return [ok("set aside", "no update had to be set aside")];
  const findings = items.slice(0, shown).map(({ space_id, app_id, table_name, record_id, seq, message, user_id }) => {
    const address = [space_id, app_id, table_name, record_id]
      .map((part) => `'${part.replaceAll("'", "''")}'`)
      .join(", ");
    return warning(
      "set aside",
      `${space_id} ${app_id} ${table_name} ${record_id}, seq ${seq}, by ${user_id}: ${message ?? "no reason is known"}`,
      `select perch.retry_update(${address}, ${seq}), or perch.discard_update(…)`,
    );
  });
  if (items.length > shown)
    findings.push(
      warning(
        "set aside",
        `and more than these ${shown}`,
        "select * from perch.document_inbox where status = 'rejected'",
      ),
    );
  return findings;
};

const projections: Check = async (db) => {
  const [row] = await db.query<{ late: number; oldest: number }>(
    `select count(*) as late, coalesce(extract(epoch from clock_timestamp() - min(due_at)), 0)::float8 as oldest
       from perch.document_queue where due_at < clock_timestamp() - interval '10 seconds'`,
  );
  if (!row || row.late === 0) return [ok("records", "show their documents")];
  return [
    warning(
      "records",
      `${row.late} lag behind their documents, the furthest by ${Math.round(row.oldest)} s`,
      "start perch worker, or see its log",
    ),
  ];
};

const history: Check = async (db) => {
  const [row] = await db.query<{ begun: string | null; here: string | null }>(
    "select e.server as begun, perch.server_identity() as here from perch.log_epoch e",
  );
  if (row?.begun == null) return [ok("history", "no worker has looked at this database yet")];
  if (row.here === null || row.here === row.begun) return [await lostLately(db)];
  return [
    warning(
      "history",
      `the log's epoch began on another server, timeline or database (${row.begun}; this is ${row.here}): it was restored, or failed over`,
      "start perch worker, which begins a new epoch, or: select perch.new_epoch()",
    ),
  ];
};

/** What a database lacks that went back is news for a week. */
async function lostLately(db: Parameters<Check>[0]): Promise<Finding> {
  const [epoch] = await db.query<{ begun_at: Date | null; lost: Record<string, Lost> | null; recent: boolean }>(
    "select begun_at, lost, begun_at > now() - interval '7 days' as recent from perch.last_epoch()",
  );
  if (epoch === undefined || epoch.begun_at === null) return ok("history", "the log's epoch began on this database");
  const since = `the log's epoch began at ${epoch.begun_at.toISOString()}, when the database was found to be another, or to have gone back`;
  const said = `${since}: ${lostInWords(epoch.lost ?? {})}`;
  if (Object.keys(epoch.lost ?? {}).length === 0 || !epoch.recent) return ok("history", said);
  return warning(
    "history",
    said,
    "clients bring back their own edits of documents; pushes are in whatever the database went back from",
  );
}

/** Records of a table that are lifted to see whether they can be. */
const upgradesTried = 1_000;

const upgrades: Check = async (db) => {
  const tables = await db.query<{ app_id: string; table_name: string; current_version: number }>(
    "select app_id, table_name, current_version from perch.schema_versions order by app_id, table_name",
  );
  const findings: Finding[] = [];
  for (const { app_id, table_name, current_version } of tables) {
    const [row] = await db.query<{
      failed: number;
      id: string | null;
      space_id: string | null;
      message: string | null;
    }>(
      `select count(*) as failed, min(f.record_id) as id, (array_agg(f.space_id order by f.record_id))[1] as space_id,
              (array_agg(f.message order by f.record_id))[1] as message
         from (select r.space_id, r.record_id, perch.upgrade_error(
                 change => jsonb_build_object('op', 'insert', 'table', r.table_name, 'id', r.record_id, 'data', r.data, 'field_meta', r.field_meta),
                 app_id => r.app_id, table_name => r.table_name, from_version => r.schema_version, to_version => $3) as message
                 from (select s.* from perch.stored_records s
                        where s.app_id = $1 and s.table_name = $2 and s.schema_version < $3 and not s.deleted
                          and not exists (select from perch.document_tables d where d.app_id = $1 and d.table_name = $2)
                        limit ${upgradesTried}) r) f
        where f.message is not null`,
      [app_id, table_name, current_version],
    );
    if (!row || row.failed === 0) continue;
    findings.push(
      warning(
        "upgrades",
        `${row.failed} records of ${app_id}/${table_name} cannot be lifted to version ${current_version}, such as ${row.space_id} ${row.id}: ${row.message}`,
        "mend the upgrade function (perch.register_upgrade); until then readers of that version get these records without content",
      ),
    );
  }
  return findings.length > 0 ? findings : [ok("upgrades", "lift what they were tried on")];
};
