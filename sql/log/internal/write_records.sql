-- Lock order: the records, then the counters of the spaces, which are only tried (docs/architecture.md, "The order of
-- locks").
create or replace function perch.write_records(
  changes perch.change[], app_id text, client_id text, author text, now timestamptz,
  inout results jsonb[], out written perch.change[], out seqs bigint[]
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  were_merged boolean;
  code text;
begin
  begin
    select w.changes, w.were_merged into written, were_merged
      from perch.write_changes(write_records.changes, write_records.app_id, write_records.client_id,
        write_records.author, write_records.now) w;
  exception when others then
    get stacked diagnostics code = returned_sqlstate;
    if not perch.is_refusal(code) then
      raise;
    end if;
    -- A rule of the app's, or a limit, is in the way of some of them.
    select w.written, w.results into written, results
      from perch.write_each(write_records.changes, write_records.app_id, write_records.client_id,
        write_records.author, write_records.now, write_records.results) w;
    were_merged := true;
  end;
  if written <> '{}' then
    seqs := perch.log_written(written, write_records.app_id, write_records.client_id, write_records.author,
      write_records.now, were_merged);
  end if;
end
$$;

comment on function perch.write_records(perch.change[], text, text, text, timestamptz, jsonb[]) is
  'Private. Writes changes and logs them, all in one; where some cannot be written, each for itself. Gives what was written, with its numbers (null where they are still to come), and adds the results of the others.';
