import type { Apply } from "./migration-runner.js";
import type { MigrationSources } from "./migration-sources.js";
import type { Transaction } from "./types.js";

/**
 * Functions and views whose file has changed, then what compares itself with the catalog: grants.sql reads in the ledger who may execute
 * what. A function that changes its arguments or its result, or that goes, is dropped by a migration: files only create or replace.
 */
export async function applySql(
  tx: Transaction,
  apply: Apply,
  { files, version }: MigrationSources,
  changed: ReadonlySet<string>,
): Promise<void> {
  for (const { path, text, reconciles } of files) if (!reconciles && changed.has(path)) await apply(path, text);
  await tx.query(noteFiles("select * from json_to_recordset($1::json) w (path text, hash text, callers text[])"), [
    JSON.stringify(files.map(({ path, hash, callers }) => ({ path, hash, callers }))),
  ]);
  for (const { path, text, reconciles } of files) if (reconciles) await apply(path, text);
  await tx.query(
    `insert into perch.applied_release as r (version) values ($1)
     on conflict (only_row) do update set version = excluded.version, applied_at = clock_timestamp()`,
    [version],
  );
}

/** In: a query for path, hash and callers of all files. Out: the statement that writes them to the ledger, as far as they differ. */
export const noteFiles = (wanted: string) => `with wanted as (
${wanted}
), gone as (
  delete from perch.applied_sql a where a.path <> all (array(select w.path from wanted w))
)
insert into perch.applied_sql as a (path, hash, callers) select w.path, w.hash, w.callers from wanted w
on conflict (path) do update set hash = excluded.hash, callers = excluded.callers, applied_at = clock_timestamp()
 where (a.hash, a.callers) <> (excluded.hash, excluded.callers)`;

/** What of the schema belongs to somebody else than perch_owner, to whom sql/bootstrap.sql gives it back. */
export async function foreignProperty(tx: Transaction): Promise<string[]> {
  const rows = await tx.query<{ detail: string }>(
    `select format('%s belonged to %s', each.item, pg_get_userbyid(each.owner)) as detail
       from (select 'table ' || c.relname as item, c.relowner as owner, c.relnamespace as schema
               from pg_class c where c.relkind in ('r', 'p', 'v') and c.relname not in ('migrations', 'applied_sql', 'applied_release')
             union all
             select 'function ' || p.proname, p.proowner, p.pronamespace from pg_proc p) each
      where each.schema = to_regnamespace('perch') and each.owner <> to_regrole('perch_owner')
      order by 1`,
  );
  return rows.map(({ detail }) => detail);
}

/** Drops what sql/ defines, and nothing of an app's. */
export const dropDefinitions = `
do $drop$
declare
  found record;
begin
  for found in
    select format('drop trigger %I on %s', t.tgname, t.tgrelid::regclass) as statement
      from pg_trigger t join pg_class c on c.oid = t.tgrelid
     where c.relnamespace = 'perch'::regnamespace and not t.tgisinternal
    union all
    select format('drop policy %I on perch.%I', p.policyname, p.tablename)
      from pg_policies p
     where p.schemaname = 'perch' and p.tablename not in ('migrations', 'applied_sql', 'applied_release')
  loop
    execute found.statement;
  end loop;
  -- One statement for each kind: among themselves they may stand on each other. First the routines that return a view's rows,
  -- then the views, which may call others.
  for found in
    select 'drop routine ' || string_agg(p.oid::regprocedure::text, ', ') as statement
      from pg_proc p join pg_class c on c.reltype = p.prorettype and c.relkind = 'v'
     where p.pronamespace = 'perch'::regnamespace
    having count(*) > 0
  loop
    execute found.statement;
  end loop;
  for found in
    select 'drop view ' || string_agg(c.oid::regclass::text, ', ') as statement
      from pg_class c where c.relnamespace = 'perch'::regnamespace and c.relkind = 'v'
    having count(*) > 0
  loop
    execute found.statement;
  end loop;
  for found in
    select 'drop routine ' || string_agg(p.oid::regprocedure::text, ', ') as statement
      from pg_proc p where p.pronamespace = 'perch'::regnamespace
    having count(*) > 0
  loop
    execute found.statement;
  end loop;
end
$drop$;
`;
