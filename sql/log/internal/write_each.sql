-- What perch.push_many does when some of its changes cannot be written: each for itself, so that those at fault are
-- rejected alone. The counters of all spaces are taken first, in the order of every writer (docs/architecture.md, "The
-- order of locks").
create or replace function perch.write_each(
  changes perch.change[], app_id text, client_id text, author text, now timestamptz,
  inout results jsonb[], out written perch.change[], out seqs bigint[]
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  change perch.change;
  taken bigint[];
  refused jsonb;
  code text;
  message text;
  details text;
  constraint_name text;
  schema_name text;
begin
  written := '{}';
  seqs := '{}';
  perform perch.lock_heads(array(select c.space_id from unnest(write_each.changes) c));
  foreach change in array write_each.changes loop
    begin
      taken := perch.number_changes(array[change], write_each.now);
      perform perch.write_changes(array[change], taken, write_each.app_id, write_each.client_id, write_each.author,
        write_each.now);
      written := written || change;
      seqs := seqs || taken;
    exception when integrity_constraint_violation or data_exception or with_check_option_violation or raise_exception
                or sqlstate 'PE403' or sqlstate 'PE404' or sqlstate 'PE409' or sqlstate 'PE413' or sqlstate 'PE422' then
      get stacked diagnostics code = returned_sqlstate, message = message_text, details = pg_exception_detail,
        constraint_name = constraint_name, schema_name = schema_name;
      refused := perch.refusal(change, code, message, details, constraint_name, schema_name);
      if refused is null then
        raise;
      end if;
      -- It may be tried again.
      delete from perch.push_receipts r where r.space_id = perch.personal_space_id(write_each.author)
        and r.op_id = change.op_id;
      results[change.position] := refused;
    end;
  end loop;
end
$$;

comment on function perch.write_each(perch.change[], text, text, text, timestamptz, jsonb[]) is
  'Private. Numbers and writes changes one by one; adds the results of those that cannot be written, and gives the others with their numbers.';
