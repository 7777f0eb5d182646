-- What triggers, checks and policies of the app's tables name without a schema is looked up by the path of whoever sets
-- them off. Perch's own would find nothing of the app, and the session's is chosen by whoever pushes, while they run
-- with the rights of perch_owner. So it is the schemas of the tables, and public, where only those make objects in them
-- whose the schema or the tables are.
--
-- A statement that is executed with it names the functions of Postgres by their schema.
create or replace function perch.apps_path(relations oid[])
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
-- Planning anew for each call would cost as much as the call.
set plan_cache_mode = force_generic_plan
as $$
begin
  return (
    select concat_ws(', ', 'pg_catalog',
             string_agg(quote_ident(n.nspname), ', ' order by n.nspname = 'public', n.nspname), 'pg_temp')
      from pg_namespace n
     where (n.nspname = 'public' or n.oid in (select c.relnamespace from pg_class c where c.oid = any (relations)))
       and not exists (
         select from aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
          where a.privilege_type = 'CREATE' and a.grantee <> n.nspowner
            and a.grantee not in (select c.relowner from pg_class c where c.oid = any (relations))));
end
$$;

comment on function perch.apps_path(oid[]) is
  'Private. The search_path with which statements that write these tables are executed.';
