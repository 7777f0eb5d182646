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
      from unnest(changes) with ordinality c
     where seqs[c.ordinality] is not null;
    return;
  end if;

  insert into perch.sync_changes
    (space_id, seq, app_id, table_name, record_id, op, data, field_meta, at, deleted_at, user_id, client_id, op_id,
     schema_version, actor, origin, size, created_at)
  select (e.change).space_id, seqs[e.nth], log_changes.app_id, (e.change).table_name, (e.change).record_id,
         (e.change).op, e.data, e.field_meta, (e.change).at, e.deleted_at, author, log_changes.client_id,
         (e.change).op_id, (e.change).schema_version, (e.change).actor, (e.change).origin, e.size, log_changes.now
    from perch.entry_contents(changes, log_changes.app_id) e
   where seqs[e.nth] is not null;
end
$$;

comment on function perch.log_changes(perch.change[], bigint[], text, text, text, timestamptz, boolean) is
  'Private. Logs those changes that have a number. were_merged: whether some had to be merged into records that had seen later ones; without, none of their records was ever deleted.';
