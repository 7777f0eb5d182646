create or replace function perch.key_columns(relation oid)
returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
-- Planning anew for each call would cost as much as the call.
set plan_cache_mode = force_generic_plan
as $$
begin
  return (
    select array_agg(a.attname::text order by k.nth)
      from pg_index i
     cross join lateral unnest(i.indkey::int2[]) with ordinality k (number, nth)
      join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
     where i.indrelid = key_columns.relation and i.indisprimary and k.nth <= i.indnkeyatts);
end
$$;
grant execute on function perch.key_columns to perch_worker;

comment on function perch.key_columns(oid) is 'Private. The columns of a table''s primary key, in its order; null where there is none.';
