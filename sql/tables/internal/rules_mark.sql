create or replace function perch.rules_mark(app_id text, tables text[])
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return (
    select md5(string_agg(concat(r.table_name, ' ', r.rules_mark), ',' order by r.table_name))
      from perch.synced_relations r
     where r.app_id = rules_mark.app_id and (tables is null or r.table_name = any (tables))
       and r.rules_mark is not null);
end
$$;

comment on function perch.rules_mark(text, text[]) is
  'Private. Identifies the rules of these synced tables of an app (null: of all): another when those of one of them were changed. Null where there never were any.';
