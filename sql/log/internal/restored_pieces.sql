-- A device is an argument of a whole push, and decides between writes of the same instant: so what each wrote is a
-- piece of its own. None is longer than a change may be: a field that is too long for a piece with others is one
-- alone.
create or replace function perch.restored_pieces(lines jsonb, max_bytes bigint)
returns table (nth integer, client_id text, part bigint, data jsonb, field_meta jsonb)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with fields as (
    select f.*, case when f.bytes > max_bytes then f.name end as alone,
           sum(case when f.bytes > max_bytes then 0 else f.bytes end)
             over (partition by f.nth, f.client_id order by f.name) / max_bytes as share
      from perch.restored_fields(lines) f
  )
  select f.nth, f.client_id,
         row_number() over (partition by f.nth, f.client_id order by f.alone nulls first, trunc(f.share)),
         json_object_agg(f.name, f.value)::jsonb,
         coalesce(jsonb_object_agg(f.name, perch.time_text(f.moment)) filter (where f.stamped), '{}')
    from fields f
   group by f.nth, f.client_id, f.alone, trunc(f.share)
$$;

comment on function perch.restored_pieces(jsonb, bigint) is
  'Private. The fields of lines of an export (nth: of which), in pieces of one device and at most max_bytes each (but for single fields that are longer), numbered for each device (part).';
