-- The last arguments of the triggers are the columns of the key; Postgres keeps each with a zero byte behind it.
create or replace function perch.has_captured_key(relation oid)
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
return (
  select t.tgnargs = 4 + cardinality(k.columns)
         and substr(t.tgargs, octet_length(t.tgargs) - octet_length(k.arguments) + 1) = k.arguments
    from pg_trigger t
   cross join lateral (
     select array_agg(c.name order by c.nth),
            string_agg(convert_to(c.name, getdatabaseencoding()) || '\x00'::bytea, '' order by c.nth)
       from unnest(perch.key_columns(t.tgrelid)) with ordinality c (name, nth)) k (columns, arguments)
   where t.tgrelid = has_captured_key.relation and t.tgname = 'perch_truncate'
     and t.tgfoid = 'perch.capture_truncated()'::regprocedure);

comment on function perch.has_captured_key(oid) is
  'Private. Whether the triggers of a synced table go by the primary key that it has; null where there are none.';
