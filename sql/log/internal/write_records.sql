-- Lock order: the counters of the spaces (docs/architecture.md, "The order of locks").
create or replace function perch.write_records(
  changes perch.change[], app_id text, client_id text, author text, now timestamptz,
  inout results jsonb[], out written perch.change[], out seqs bigint[]
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  seqs := perch.number_changes(write_records.changes, write_records.now);
  perform perch.write_changes(write_records.changes, seqs, write_records.app_id, write_records.client_id,
    write_records.author, write_records.now);
  written := write_records.changes;
exception when integrity_constraint_violation or data_exception or with_check_option_violation or raise_exception
            or sqlstate 'PE403' or sqlstate 'PE404' or sqlstate 'PE409' or sqlstate 'PE413' or sqlstate 'PE422' then
  -- A rule of the app's, or a limit, is in the way of some of them.
  select w.written, w.seqs, w.results into written, seqs, results
    from perch.write_each(write_records.changes, write_records.app_id, write_records.client_id, write_records.author,
      write_records.now,
           write_records.results) w;
end
$$;

comment on function perch.write_records(perch.change[], text, text, text, timestamptz, jsonb[]) is
  'Private. Numbers and writes changes, all in one; where some cannot be written, each for itself. Gives what was written, with its numbers, and adds the results of the others.';
