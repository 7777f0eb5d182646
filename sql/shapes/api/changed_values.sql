-- With the rights of whoever calls: perch_worker sees the log of all.
--
-- Long texts are left out: who looks for one would have to remember it.
--
-- Texts are told of types of which two values are equal where their texts are, and of no others: a collation may take
-- two for equal that differ.
create or replace function perch.changed_values(
  schema_name text, relation_name text, app_id text, table_name text, after_position bigint, upto bigint,
  columns text[]
)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  images constant jsonb[] := perch.images_between(app_id, table_name, after_position, upto);
begin
  return (
    select coalesce(json_object_agg(a.attname, array(
             select distinct i ->> a.attname from unnest(images) i where octet_length(i ->> a.attname) <= 200
              order by 1)), '{}')
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      join pg_attribute a on a.attrelid = c.oid and a.attname = any (changed_values.columns) and not a.attisdropped
      join pg_type t on t.oid = a.atttypid
      left join pg_collation o on o.oid = a.attcollation
     where images is not null and n.nspname = changed_values.schema_name and c.relname = changed_values.relation_name
       and t.typnamespace = 'pg_catalog'::regnamespace
       and t.typname = any ('{bool,int2,int4,int8,text,varchar,uuid}') and o.collisdeterministic is not false);
end
$$;
grant execute on function perch.changed_values to perch_worker;

comment on function perch.changed_values(text, text, text, text, bigint, bigint, text[]) is
  'For perch_worker: which values these columns had in the rows that changed between two positions, before or after: {column: [text, …]}, without null and texts of over 200 bytes; columns are left out whose values may be equal while their texts differ, and all of them where a great deal has changed. schema_name, relation_name: the synced table; app_id, table_name: its name in the log. Example: select perch.changed_values(schema_name => ''public'', relation_name => ''orders'', app_id => ''shop'', table_name => ''orders'', after_position => 0, upto => 10, columns => ''{status}'');';
