-- Those who took a snapshot know no deleted records. So an entry names the latest deletion of its record, and one that
-- revives a record has all its fields, also those that were hidden.
create or replace function perch.entry_contents(changes perch.change[], app_id text)
returns table (
  nth bigint, change perch.change, data jsonb, field_meta jsonb, deleted_at timestamptz, size integer
)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select c.nth, c.change,
         case when v.revived then r.data else (c.change).data end,
         case when v.revived then r.field_meta else (c.change).field_meta end,
         r.deleted_at,
         case when v.revived
              then nullif(greatest(octet_length(r.data::text) + octet_length(r.field_meta::text), 2000), 2000)
              else (c.change).size end
    from (select u as change, row_number() over () as nth from unnest(changes) u) c
    -- No entry is ever left out, whoever may not see the record.
    left join lateral (
     select x.data, x.field_meta, x.deleted, x.deleted_at from perch.stored_records x
      where x.space_id = (c.change).space_id and x.app_id = entry_contents.app_id
        and x.table_name = (c.change).table_name and x.record_id = (c.change).record_id
      limit 1) r on true
   cross join lateral (
     select coalesce((c.change).op = 'insert' and r.deleted_at is not null and not r.deleted, false)) v (revived)
$$;

comment on function perch.entry_contents(perch.change[], text) is
  'Private. What the log has of changes, beside what they say themselves, once their records are written; nth: their places.';
