/** The schema perch of a database as sorted lines: two databases with the same lines have the same schema, rights included. */
import type { Queryable } from "../../src/database/types.js";

const schemaSql = `
select 'column ' || c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
       || case when a.attnotnull then ' not null' else '' end
       || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') || coalesce(' collate ' || l.collname, '') as line
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
  left join pg_collation l on l.oid = a.attcollation and l.collname <> 'default'
 where c.relnamespace = 'perch'::regnamespace and c.relkind in ('r', 'v', 'p')
union all
select 'relation ' || c.relname || ' ' || c.relkind::text || ' owner ' || c.relowner::regrole || ' rls ' || c.relrowsecurity
       || ' forced ' || c.relforcerowsecurity || coalesce(' options ' || c.reloptions::text, '')
       || ' rights ' || coalesce((select string_agg(x::text, ' ' order by x::text) from unnest(c.relacl) x), 'default')
  from pg_class c where c.relnamespace = 'perch'::regnamespace
union all
select 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
  from pg_constraint where connamespace = 'perch'::regnamespace and contype <> 'n'
union all
select 'index ' || indexdef from pg_indexes where schemaname = 'perch'
union all
select 'view ' || viewname || ' ' || definition from pg_views where schemaname = 'perch'
union all
select 'policy ' || tablename || '.' || policyname || ' ' || permissive || ' ' || roles::text || ' ' || cmd
       || coalesce(' using ' || qual, '') || coalesce(' check ' || with_check, '')
  from pg_policies where schemaname = 'perch'
union all
select 'trigger ' || pg_get_triggerdef(t.oid)
  from pg_trigger t join pg_class c on c.oid = t.tgrelid
 where c.relnamespace = 'perch'::regnamespace and not t.tgisinternal
union all
select 'function ' || p.oid::regprocedure || ' owner ' || p.proowner::regrole
       || ' rights ' || coalesce((select string_agg(x::text, ' ' order by x::text) from unnest(p.proacl) x), 'default')
       || ' ' || pg_get_functiondef(p.oid)
  from pg_proc p where p.pronamespace = 'perch'::regnamespace and p.prokind in ('f', 'p')
union all
select 'type ' || t.typname || ' ' || t.typtype::text
  from pg_type t where t.typnamespace = 'perch'::regnamespace and t.typtype in ('e', 'd')
union all
select 'comment ' || pg_describe_object(d.classoid, d.objoid, d.objsubid) || ': ' || d.description
  from pg_description d
 where pg_describe_object(d.classoid, d.objoid, d.objsubid) like '%perch.%'
union all
select 'defaults ' || a.defaclrole::regrole || ' ' || a.defaclobjtype::text || ' ' || a.defaclacl::text from pg_default_acl a
union all
select 'schema owner ' || n.nspowner::regrole || ' rights ' || coalesce(n.nspacl::text, 'default')
  from pg_namespace n where n.nspname = 'perch'
union all
select 'migration ' || name from perch.migrations
union all
select 'file ' || path || ' ' || hash from perch.applied_sql
`;

export async function schemaLines(db: Queryable): Promise<string[]> {
  const rows = await db.query<{ line: string }>(schemaSql);
  return rows.map(({ line }) => line).sort();
}

/** Those that sql/bootstrap.sql makes. */
const roles = ["perch_owner", "perch_app", "perch_worker"];

/**
 * Which version of which catalog row every object of the schema is: the same before and after when nothing was touched. Of roles and
 * memberships only perch's own: the others are of other databases of the same server, whose tests run at the same time.
 */
export async function schemaVersions(db: Queryable): Promise<unknown[]> {
  return db.query(
    `select 'relation' as kind, oid::text as id, xmin::text as version from pg_class where relnamespace = 'perch'::regnamespace
    union all select 'function', oid::text, xmin::text from pg_proc where pronamespace = 'perch'::regnamespace
    union all select 'policy', p.oid::text, p.xmin::text from pg_policy p
    union all select 'trigger', t.oid::text, t.xmin::text from pg_trigger t
    union all select 'migration', m.id::text, m.xmin::text from perch.migrations m
    union all select 'file', f.path, f.xmin::text from perch.applied_sql f
    union all select 'role', r.oid::text, r.xmin::text from pg_authid r where r.rolname = any ($1)
    union all select 'member', m.roleid::text || ' ' || m.member::text, m.xmin::text from pg_auth_members m
     where m.roleid in (select r.oid from pg_authid r where r.rolname = any ($1))
       and m.member in (select r.oid from pg_authid r where r.rolname = any ($1))
    order by 1, 2, 3`,
    [roles],
  );
}
