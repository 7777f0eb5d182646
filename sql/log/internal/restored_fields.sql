-- A stamp is a time and, where another device wrote than the line says, a space and that device (nothing for none).
create or replace function perch.restored_fields(lines jsonb)
returns table (
  nth integer, name text, value jsonb, moment timestamptz, client_id text, stamped boolean, bytes bigint
)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select (g.line ->> 'nth')::integer, f.key, f.value,
         coalesce(split_part(s.stamp, ' ', 1), g.line ->> 'at', g.line ->> 'written_at')::timestamptz,
         case when s.stamp ~ ' ' then nullif(substr(s.stamp, strpos(s.stamp, ' ') + 1), '')
              else coalesce(g.line ->> 'client_id', g.line ->> 'written_by') end,
         s.stamp is not null or g.line ->> 'kind' = 'record',
         octet_length(f.key) + octet_length(f.value::text) + 60
    from jsonb_array_elements(lines) g (line)
   cross join lateral jsonb_each(case jsonb_typeof(g.line -> 'data') when 'object' then g.line -> 'data'
     else '{}' end) f
   cross join lateral (select g.line -> 'field_meta' ->> f.key) s (stamp)
$$;

comment on function perch.restored_fields(jsonb) is
  'Private. The fields of lines of an export (nth: of which): when each was written and by which client; stamped: its time is not that of the change.';
