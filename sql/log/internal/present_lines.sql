-- What is there already is not pushed at all: an entry that this log has under the same number; and, where the log no
-- longer tells (the line is a record, or its number was pruned here), what the record already shows, or would show if
-- it had not been overwritten or deleted later.
create or replace function perch.present_lines(lines jsonb, from_user text, is_home boolean)
returns setof integer
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with given as materialized (
    select g.line, (g.line ->> 'nth')::integer as nth, g.line ->> 'kind' as kind, g.line ->> 'target' as space,
           g.line ->> 'app_id' as app, g.line ->> 'table' as tab, g.line ->> 'id' as id,
           is_home and g.line ->> 'target' = g.line ->> 'space_id' as is_at_home,
           case when g.line ->> 'kind' = 'record' then g.line ->> 'inserted_at'
                when g.line ->> 'op' = 'insert' then g.line ->> 'at' end::timestamptz as inserted_at,
           case when g.line ->> 'kind' = 'record' then g.line ->> 'deleted_at'
                when g.line ->> 'op' = 'delete' then g.line ->> 'at' end::timestamptz as deleted_at
      from jsonb_array_elements(lines) g (line)
  ),
  logged as (
    select g.nth
      from given g
     cross join lateral (
       select x.* from perch.sync_changes x
        where x.space_id = g.space and x.seq = (g.line ->> 'seq')::bigint
        limit 1) c
     where g.kind = 'change' and g.is_at_home and c.user_id = from_user
       and c.app_id = g.app and c.table_name = g.tab and c.record_id = g.id and c.at = (g.line ->> 'at')::timestamptz
  ),
  there as materialized (
    select g.nth, g.line, r.data, r.field_meta, r.written_at, r.written_by, r.deleted_at
      from given g
     cross join lateral (
       select x.* from perch.stored_records x
        where x.space_id = g.space and x.app_id = g.app and x.table_name = g.tab and x.record_id = g.id
        limit 1) r
      left join lateral (
        select x.oldest_seq from perch.space_heads x where x.space_id = g.space limit 1) h on true
     where (g.kind = 'record' or g.is_at_home and (g.line ->> 'seq')::bigint < h.oldest_seq)
       and coalesce(r.inserted_at >= g.inserted_at, g.inserted_at is null)
       and coalesce(r.deleted_at >= g.deleted_at, g.deleted_at is null)
  ),
  fields as materialized (
    select f.* from perch.restored_fields((select coalesce(json_agg(t.line)::jsonb, '[]') from there t)) f
  ),
  shown as (
    select t.nth
      from there t
     where not exists (
       select from fields f
        cross join lateral (
          select perch.stamp(f.moment, f.client_id) collate "C",
                 coalesce(t.field_meta ->> f.name, perch.stamp(t.written_at, t.written_by))) s (sent, stored)
        where f.nth = t.nth
          and (t.deleted_at >= f.moment
               or t.data ? f.name and (s.stored > s.sent or s.stored = s.sent and t.data -> f.name = f.value))
              is not true)
  )
  select l.nth from logged l union select s.nth from shown s
$$;

comment on function perch.present_lines(jsonb, text, boolean) is
  'Private. Which lines of an export (by their nth) the current user has in the log, or in the records, already. is_home: the export is of this log.';
