-- Of a table with rules its author has what they let them see (perch.changes_in_sight): what a trigger or another
-- program wrote in their name, they may never have seen.
--
-- An entry of a document names fields only. Their values are those of its record now, which others have written to as
-- well: so they are there for whoever may read the record (its policy decides), and left out for whoever has left the
-- space.
create or replace function perch.export_changes()
returns setof jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  me constant text := perch.require_user();
  max_bytes constant bigint := perch.setting('max_page_bytes', 16777216);
begin
  return query
    with own as (
      select c.app_id, c.space_id, c.seq, row_number() over (partition by c.app_id order by c.created_at, c.space_id,
               c.seq) / 2000 as part
        from perch.sync_changes c
       where c.user_id = me and concat(c.app_id, ' ', c.table_name) = any ((select perch.logs_with_rules())::text[])
    ),
    seen as materialized (
      select v.*
        from (select o.app_id, array_agg(o.space_id) as space_ids, array_agg(o.seq) as seqs from own o
               group by o.app_id, o.part) p
       cross join lateral perch.changes_in_sight(p.app_id, p.space_ids, p.seqs) v
    )
    select jsonb_build_object(
             'app_id', c.app_id, 'space_id', c.space_id, 'seq', c.seq, 'op', coalesce(v.op, c.op), 'table',
               c.table_name, 'id',
               c.record_id,
             'data', case when w.withheld is not null then null
                          when v.seq is not null then v.data
                          when c.changed_fields is null then c.data else (
                 select coalesce(
                          json_object_agg(f.name, coalesce(r.data -> f.name, r.long_data -> f.name))::jsonb, '{}')
                   from unnest(c.changed_fields) f (name)
                   join perch.stored_records r
                     on r.space_id = c.space_id and r.app_id = c.app_id and r.table_name = c.table_name
                       and r.record_id = c.record_id
                  where r.data ? f.name or f.name = any (r.long_fields)) end,
             'field_meta', case when w.withheld is null then coalesce(c.field_meta, '{}')
               else '{}' end, 'at', perch.time_text(c.at), 'client_id', c.client_id, 'op_id', c.op_id,
             'schema_version', c.schema_version, 'actor', case
               when w.withheld is null then c.actor end, 'origin', c.origin,
             'created_at', perch.time_text(c.created_at)) || coalesce(w.withheld, '{}')
      from perch.sync_changes c
      left join seen v on v.space_id = c.space_id and v.seq = c.seq
      left join lateral (
        select r.size from perch.stored_records r
         where c.changed_fields is not null
           and r.space_id = c.space_id and r.app_id = c.app_id and r.table_name = c.table_name
             and r.record_id = c.record_id
         limit 1) d on true
     cross join lateral (
        select case when coalesce(c.size, d.size) > max_bytes then
          jsonb_build_object('withheld',
            jsonb_build_object('reason', 'too_large', 'bytes', coalesce(c.size, d.size), 'max',
            max_bytes)) end) w (withheld)
     where c.user_id = me
       and (v.seq is not null or concat(c.app_id, ' ', c.table_name) <> all ((select perch.logs_with_rules())::text[]))
     order by c.created_at, c.space_id, c.seq;
end
$$;
grant execute on function perch.export_changes to perch_app;

comment on function perch.export_changes() is
  'Every change the current user authored, in whatever app and space, oldest first; also those in spaces the user has left, as they were written (of documents, whose changes are kept as updates, the values are the present ones, and only where the user may read; of synced tables with rules, what these let the user see now). Errors: PE401. Example: select perch.export_changes();';
