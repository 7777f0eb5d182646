import type { Database } from "../database/types.js";
import { type Check, type Finding, ok, warning, wrong } from "./finding.js";

/** Why nothing else can be asked of this server; undefined when it can. */
export async function standingInTheWay(db: Database): Promise<Finding | undefined> {
  const [server] = await db.query<{ standby: boolean }>("select pg_is_in_recovery() as standby");
  if (server?.standby) {
    return wrong(
      "server",
      "this is a standby: it takes no writes, and nobody can listen on it",
      "give perch the URL of the primary",
    );
  }
  try {
    // Statement pooling refuses the second statement of a transaction, or gives it to another session.
    await db.transaction(async (tx) => {
      await tx.query("select set_config('perch.doctor', 'here', true)");
      const [row] = await tx.query<{ word: string | null }>("select current_setting('perch.doctor', true) as word");
      if (row?.word !== "here") throw new Error("the second statement went to another session");
    });
  } catch (error) {
    return wrong(
      "transactions",
      `do not work on this URL, as through a proxy that pools statements: ${String((error as Error).message ?? error)}`,
      "let the proxy pool transactions (pool_mode = transaction), or connect directly",
    );
  }
  return undefined;
}

const standbys: Check = async (db) => {
  // Which of them are synchronous only some logins may see; that there is none is seen by all.
  const [row] = await db.query<{ names: string; connected: number; synchronous: number; hidden: number }>(
    `select current_setting('synchronous_standby_names') as names, count(r.pid) as connected,
            count(*) filter (where r.sync_state in ('sync', 'quorum')) as synchronous,
            count(*) filter (where r.pid is not null and r.sync_state is null) as hidden
       from (select) one left join pg_stat_replication r on true`,
  );
  if (!row || row.names === "") return [ok("standbys", "no commit waits for a standby")];
  if (row.connected === 0 || (row.synchronous === 0 && row.hidden === 0)) {
    return [
      wrong(
        "standbys",
        `commits wait for a synchronous standby (${row.names}), and none is connected: no commit ever ends`,
        "bring the standby back, or set synchronous_standby_names to '' and reload",
      ),
    ];
  }
  return [ok("standbys", `commits wait for ${row.names}, which is connected`)];
};

const slotLagBytes = 2 ** 30;

const slots: Check = async (db) => {
  const rows = await db.query<{ name: string; active: boolean; bytes: number }>(
    `select slot_name::text as name, active, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint as bytes
       from pg_replication_slots where not active or pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) > ${slotLagBytes}`,
  );
  if (rows.length === 0) return [ok("replication slots", "none is inactive or far behind")];
  return rows.map(({ name, active, bytes }) =>
    warning(
      "replication slots",
      `${name} is ${active ? "far behind" : "inactive"} and keeps ${Math.ceil(bytes / 2 ** 20)} MB of log on the disk, which it will fill`,
      active
        ? "see what its consumer waits for"
        : `bring its consumer back, or: select pg_drop_replication_slot('${name}')`,
    ),
  );
};

const connections: Check = async (db) => {
  const rows = await db.query<{ what: string; used: number; most: number }>(
    `select 'the server' as what, (select count(*) from pg_stat_activity where backend_type = 'client backend') as used,
            current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
              - coalesce(current_setting('reserved_connections', true)::int, 0) as most
     union all
     select 'the login ' || r.rolname, (select count(*) from pg_stat_activity a where a.usesysid = r.oid), r.rolconnlimit
       from pg_roles r where r.rolname = session_user and r.rolconnlimit >= 0
     union all
     select 'the database ' || d.datname, (select count(*) from pg_stat_activity a where a.datid = d.oid), d.datconnlimit
       from pg_database d where d.datname = current_database() and d.datconnlimit >= 0`,
  );
  const short = rows.filter(({ used, most }) => most - used < Math.max(5, most / 10));
  if (short.length === 0) {
    return [ok("connections", rows.map(({ what, used, most }) => `${what} has ${used} of ${most}`).join(", "))];
  }
  return short.map(({ what, used, most }) =>
    warning(
      "connections",
      `${what} has ${used} of ${most} in use: processes of perch may find none`,
      "lower PERCH_POOL_SIZE, see who holds them (pg_stat_activity), or raise the limit",
    ),
  );
};

/** Beside Citus perch stays on one node: nothing of it may be elsewhere, and grants on the tables of all nodes ask for its roles there. */
const citus: Check = async (db) => {
  const [found] = await db.query<{ version: string; login: string }>(
    "select extversion as version, session_user::text as login from pg_extension where extname = 'citus'",
  );
  if (found === undefined) return [];
  const { version, login } = found;
  const distributed = await db.query<{ name: string }>(
    `select p.logicalrelid::text as name from pg_dist_partition p join pg_class c on c.oid = p.logicalrelid
      where c.relnamespace = 'perch'::regnamespace order by 1`,
  );
  const unknown = await db.query<{ name: string }>(
    `select r.rolname::text as name from pg_roles r
      where r.rolname in ('perch_owner', 'perch_app', 'perch_worker')
        and exists (select from pg_dist_node n where n.groupid <> 0)
        and not exists (select from pg_dist_object o where o.classid = 'pg_authid'::regclass and o.objid = r.oid)
      order by 1`,
  );
  const findings = [
    ...distributed.map(({ name }) =>
      wrong(
        "citus",
        `${name} has been given to Citus, and perch's own tables are to be on one node`,
        `select undistribute_table('${name}')`,
      ),
    ),
    ...unknown.map(({ name }) =>
      warning(
        "citus",
        `Citus does not know the role ${name}, which grants on tables of other nodes ask for`,
        `perch migrate up, which has it passed on, or: grant ${name} to "${login}"`,
      ),
    ),
  ];
  return findings.length > 0 ? findings : [ok("citus", `${version}: all of perch is on this node`)];
};

const vacuum: Check = async (db) => {
  const rows = await db.query<{ what: string; remedy: string }>(
    `select 'for all tables' as what, 'set autovacuum (and track_counts) to on' as remedy
       from pg_settings where name in ('autovacuum', 'track_counts') and setting = 'off'
     union
     select 'for perch.' || c.relname, format('alter table perch.%I reset (autovacuum_enabled)', c.relname)
       from pg_class c
      where c.relnamespace = 'perch'::regnamespace and c.reloptions && array['autovacuum_enabled=false', 'autovacuum_enabled=off']`,
  );
  if (rows.length === 0) return [ok("autovacuum", "is on")];
  return rows.map(({ what, remedy }) => warning("autovacuum", `is off ${what}: dead rows pile up`, remedy));
};

const transactions =
  (longSeconds: number): Check =>
  async (db) => {
    const rows = await db.query<{
      pid: number;
      login: string;
      application: string;
      state: string;
      seconds: number;
      waiting: number;
      tables: string | null;
    }>(
      `select a.pid, a.usename::text as login, a.application_name as application, a.state,
            extract(epoch from clock_timestamp() - a.xact_start)::int as seconds,
            (select count(*) from pg_stat_activity w where a.pid = any (pg_blocking_pids(w.pid))) as waiting,
            (select string_agg(distinct c.relname, ', ')
               from pg_locks l join pg_class c on c.oid = l.relation
              where l.pid = a.pid and l.granted and c.relnamespace = 'perch'::regnamespace and c.relkind in ('r', 'p')
                and l.mode <> 'AccessShareLock') as tables
       from pg_stat_activity a
      where a.datname = current_database() and a.pid <> pg_backend_pid()
        and a.xact_start < clock_timestamp() - interval '${longSeconds} seconds'
      order by a.xact_start
      limit 10`,
    );
    const held = await heldRows(db);
    const counting = rows.filter(({ tables }) => tables?.split(", ").includes("space_heads"));
    const spaces = counting.length === 0 ? [] : await heldSpaces(db);
    // Which of them it is nobody outside can tell.
    const among = counting.length > 1 ? ", or another of these does" : "";
    const found = rows.map((row) => {
      const { pid, login, application, state, seconds, waiting, tables } = row;
      const mine = [
        ...(counting.includes(row) ? spaces.map((space) => `space ${space}${among}`) : []),
        ...held.filter(({ holders }) => holders.includes(pid)).map(({ what }) => what),
      ];
      const detail = [
        `process ${pid} (${login}, ${application || "no name"}, ${state}) for ${seconds} s`,
        ...(tables === null ? [] : [`has locked rows of ${tables}`]),
        ...(mine.length === 0 ? [] : [`holds ${[...new Set(mine)].join(", ")}`]),
        ...(waiting === 0 ? [] : [`${waiting} wait for it`]),
      ].join("; ");
      const remedy = `see what it does, or end it: select pg_terminate_backend(${pid})`;
      return warning("transactions", detail, remedy);
    });
    if (found.length > 0) return found;
    const [right] = await db.query<{ sees: boolean }>(
      "select pg_has_role(session_user, 'pg_read_all_stats', 'USAGE') or (select rolsuper from pg_roles where rolname = session_user) as sees",
    );
    return [
      ok(
        "transactions",
        right?.sees
          ? `none is open for longer than ${longSeconds} s`
          : `none of this login is open for longer than ${longSeconds} s; to see those of others: grant pg_read_all_stats to it`,
      ),
    ];
  };

const lookAgainMs = 250;

/**
 * The spaces whose counters somebody holds for longer than a push takes. Who holds a row has written their transaction into its version that
 * others see; a push does that in a subtransaction, of which pg_locks does not say whose it is, but Postgres whether it is over. What
 * moves on between two looks is nothing of note.
 */
async function heldSpaces(db: Database): Promise<string[]> {
  // xmax has 32 bits: it is one of the two thousand million that came last, or of those that others have taken since.
  const look = () =>
    db.query<{ space_id: string; holder: string }>(
      `with now as materialized (select pg_current_xact_id()::text::numeric as xid)
       select h.space_id, h.holder::text
         from now
        cross join lateral (
          select s.space_id, now.xid + mod(s.xmax::text::numeric - now.xid + 6442450944 + 4294967296 * trunc(now.xid / 4294967296), 4294967296)
                   - 2147483648 as holder
            from perch.space_heads s where s.xmax <> 0) h
        where case when h.holder between 3 and now.xid - 1 then pg_xact_status(h.holder::text::xid8) = 'in progress' end
        limit 20`,
    );
  const before = await look();
  if (before.length === 0) return [];
  await new Promise((done) => setTimeout(done, lookAgainMs));
  const still = new Set((await look()).map(({ space_id, holder }) => `${holder} ${space_id}`));
  return before.filter(({ space_id, holder }) => still.has(`${holder} ${space_id}`)).map(({ space_id }) => space_id);
}

/**
 * The rows that somebody waits for. Who waits for a row locks its tuple meanwhile, and pg_locks says where that is; which space, record or document it
 * is stands in the row, whose present version can still be read there.
 */
async function heldRows(db: Database): Promise<{ what: string; holders: number[] }[]> {
  const waits = await db.query<{ table: string; place: string; holders: number[] }>(
    `select distinct c.relname::text as table, format('(%s,%s)', l.page, l.tuple) as place, pg_blocking_pids(l.pid) as holders
       from pg_locks l join pg_class c on c.oid = l.relation
      where l.locktype = 'tuple' and l.granted and c.relnamespace = 'perch'::regnamespace and c.relkind = 'r'
        and l.database = (select oid from pg_database where datname = current_database())
      limit 20`,
  );
  const rows: { what: string; holders: number[] }[] = [];
  for (const { table, place, holders } of waits) {
    const [row] = await db.query<{ key: Record<string, string> }>(
      `select to_jsonb(t) as key from perch."${table.replaceAll('"', '""')}" t where t.ctid = $1::text::tid`,
      [place],
    );
    const { space_id, app_id, table_name, record_id } = row?.key ?? {};
    if (space_id === undefined) continue;
    const place_ = [app_id, table_name, record_id].filter((part) => part !== undefined);
    const kind = table === "stored_records" ? "record" : "document";
    rows.push({
      what: place_.length === 3 ? `${kind} ${[space_id, ...place_].join(" ")}` : `space ${space_id}`,
      holders,
    });
  }
  return rows;
}

const leases: Check = async (db) => {
  const rows = await db.query<{ tenant_id: string; thread_id: string; holder: string; hours: number }>(
    `select tenant_id, thread_id, holder, (extract(epoch from expires_at - clock_timestamp()) / 3600)::float8 as hours
       from perch.thread_leases
      where holder is not null and expires_at > clock_timestamp() + interval '1 hour'
      order by expires_at desc
      limit 10`,
  );
  if (rows.length === 0) return [ok("leases", "none is held for more than an hour from now")];
  const quoted = (text: string) => `'${text.replaceAll("'", "''")}'`;
  return rows.map(({ tenant_id, thread_id, holder, hours }) =>
    warning(
      "leases",
      `thread ${thread_id} of ${tenant_id} is held by ${holder} for another ${Math.round(hours)} h`,
      `if that one is dead: select perch.set_tenant(l.tenant_id), perch.release_lease(l.thread_id, l.token) from perch.thread_leases l where l.tenant_id = ${quoted(tenant_id)} and l.thread_id = ${quoted(thread_id)}`,
    ),
  );
};

/** Of a server with more than one session; PGlite has neither. */
export const serverChecks = (longSeconds: number): readonly Check[] => [
  standbys,
  slots,
  connections,
  vacuum,
  citus,
  transactions(longSeconds),
  leases,
];
