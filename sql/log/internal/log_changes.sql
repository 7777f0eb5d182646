-- The caller holds the counters of the spaces, and has written the records.
create or replace function perch.log_changes(
  changes perch.change[], seqs bigint[], app_id text, client_id text, author text, now timestamptz, were_merged boolean
)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  if not were_merged then
    insert into perch.sync_changes
      (space_id, seq, app_id, table_name, record_id, op, data, field_meta, at, user_id, client_id, op_id,
       schema_version, actor, origin, size, created_at)
    select c.space_id, seqs[c.ordinality], log_changes.app_id, c.table_name, c.record_id, c.op, c.data, c.field_meta,
           c.at, author, log_changes.client_id, c.op_id,
           c.schema_version, c.actor, c.origin, c.size, log_changes.now
      from unnest(changes) with ordinality c;
    return;
  end if;

  -- Those who took a snapshot know no deleted records. So an entry names the latest deletion of its record, and one
  -- that revives a record has all its fields, also those that were hidden.
  insert into perch.sync_changes
    (space_id, seq, app_id, table_name, record_id, op, data, field_meta, at, deleted_at, user_id, client_id, op_id,
     schema_version, actor, origin, size, created_at)
  select c.space_id, seqs[c.ordinality], log_changes.app_id, c.table_name, c.record_id, c.op,
         case when v.revived then r.data else c.data end, case when v.revived then r.field_meta else c.field_meta end,
         c.at, r.deleted_at, author, log_changes.client_id, c.op_id,
         c.schema_version, c.actor, c.origin,
         case when v.revived
              then nullif(greatest(octet_length(r.data::text) + octet_length(r.field_meta::text), 2000), 2000)
              else c.size end, log_changes.now
    from unnest(changes) with ordinality c
   cross join lateral (
     select x.data, x.field_meta, x.deleted, x.deleted_at from perch.stored_records x
      where x.space_id = c.space_id and x.app_id = log_changes.app_id
        and x.table_name = c.table_name and x.record_id = c.record_id
      limit 1) r
   cross join lateral (select c.op = 'insert' and r.deleted_at is not null and not r.deleted) v (revived);
end
$$;

comment on function perch.log_changes(perch.change[], bigint[], text, text, text, timestamptz, boolean) is
  'Private. Logs changes under their numbers. were_merged: whether some had to be merged into records that had seen later ones; without, none of their records was ever deleted.';
