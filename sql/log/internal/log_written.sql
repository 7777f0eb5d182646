-- Lock order: as perch.number_changes.
create or replace function perch.log_written(
  changes perch.change[], app_id text, client_id text, author text, now timestamptz, were_merged boolean
)
returns bigint[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  seqs constant bigint[] := perch.number_changes(changes, app_id, now);
begin
  perform perch.log_changes(changes, seqs, log_written.app_id, log_written.client_id, author, log_written.now,
    were_merged);
  if array_position(seqs, null) is not null then
    perform perch.capture_changes(
      array(select n.change from (select c as change, row_number() over () as nth from unnest(changes) c) n
             where seqs[n.nth] is null order by n.nth),
      log_written.app_id, log_written.client_id, author, log_written.now);
  end if;
  return seqs;
end
$$;

comment on function perch.log_written(perch.change[], text, text, text, timestamptz, boolean) is
  'Private. Puts changes, whose records the caller has written, into the log, or where they wait for it. Returns their numbers; null where they wait.';
