-- A stamp is a time and, where another device wrote than the line says, a space and that device (nothing for none).
create or replace function perch.restored_fields(line jsonb)
returns table (name text, value jsonb, moment timestamptz, client_id text, stamped boolean, bytes bigint)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select f.key, f.value,
         coalesce(split_part(s.stamp, ' ', 1), line ->> 'at', line ->> 'written_at')::timestamptz,
         case when s.stamp ~ ' ' then nullif(substr(s.stamp, strpos(s.stamp, ' ') + 1), '')
              else coalesce(line ->> 'client_id', line ->> 'written_by') end,
         s.stamp is not null or line ->> 'kind' = 'record',
         octet_length(f.key) + octet_length(f.value::text) + 60
    from jsonb_each(case jsonb_typeof(line -> 'data') when 'object' then line -> 'data' else '{}' end) f
   cross join lateral (select line -> 'field_meta' ->> f.key) s (stamp)
$$;

comment on function perch.restored_fields(jsonb) is
  'Private. The fields of a line of an export: when each was written and by which client; stamped: its time is not that of the change.';
