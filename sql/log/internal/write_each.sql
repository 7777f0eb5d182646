-- Lock order: the records, in the order of every writer (docs/architecture.md, "The order of locks").
--
-- What perch.write_records does when some of its changes cannot be written: each for itself, so that those at fault are
-- rejected alone. They are tried in the order of their records' keys, not of the changes: merging does not depend on
-- it, and those of one record stay in their order.
create or replace function perch.write_each(
  changes perch.change[], app_id text, client_id text, author text, now timestamptz,
  inout results jsonb[], out written perch.change[]
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  change perch.change;
  done perch.change[];
  refused jsonb;
  code text;
  message text;
  details text;
  remedy text;
  constraint_name text;
  schema_name text;
begin
  written := '{}';
  for change in
    select c.* from unnest(write_each.changes) c order by c.space_id, c.table_name, c.record_id, c.position
  loop
    begin
      select w.changes into done
        from perch.write_changes(array[change], write_each.app_id, write_each.client_id, write_each.author,
          write_each.now) w;
      written := written || done;
    exception when others then
      get stacked diagnostics code = returned_sqlstate, message = message_text, details = pg_exception_detail,
        remedy = pg_exception_hint, constraint_name = constraint_name, schema_name = schema_name;
      refused := perch.refusal(change, code, message, details, constraint_name, schema_name, remedy);
      if refused is null then
        raise;
      end if;
      -- It may be tried again.
      delete from perch.push_receipts r where r.space_id = perch.personal_space_id(write_each.author)
        and r.op_id = change.op_id;
      results[change.position] := refused;
    end;
  end loop;
  written := array(select c from unnest(written) c order by c.position);
end
$$;

comment on function perch.write_each(perch.change[], text, text, text, timestamptz, jsonb[]) is
  'Private. Writes changes one by one; adds the results of those that cannot be written, and gives the others.';
