-- Lock order: see perch.apply_rows.
--
-- All of them in one subtransaction: a batch of good rows costs one savepoint. When the rules of the app refuse any,
-- it is undone, and each is tried for itself, in their order, so that those at fault are rejected alone.
create or replace function perch.push_rows(changes perch.change[], app_id text, client_id text, now timestamptz,
  inout results jsonb[])
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  relation perch.synced_relations;
  keys text[];
  writable name[];
  space text;
  tables oid[] := '{}';
  good perch.change[] := '{}';
  writes jsonb[] := '{}';
  answers jsonb[] := '{}';
  run integer[];
  fault record;
  refused integer[] := '{}';
  code text;
  message text;
  details text;
  remedy text;
  constraint_name text;
  column_name text;
begin
  for fault in select f.* from perch.made_up_times(changes, push_rows.app_id) f loop
    refused := refused || fault.nth;
    results[changes[fault.nth].position] := perch.row_rejection(changes[fault.nth], 'PE422',
      format('column %s is given a time of a zone that nobody knows', fault."column"),
      jsonb_build_object('table', changes[fault.nth].table_name, 'column', fault."column"));
  end loop;
  for n in 1 .. cardinality(changes) loop
    continue when n = any (refused);
    if relation.table_name is distinct from changes[n].table_name then
      select r.* into strict relation from perch.synced_relations r where r.app_id = push_rows.app_id
        and r.table_name = changes[n].table_name;
      keys := perch.key_columns(relation.relation);
      tables := tables || relation.relation::oid;
      -- One that is gone, or has another name by now, is none.
      relation.writable_columns := array(
        select w from unnest(relation.writable_columns) w
         where exists (select from pg_attribute a where a.attrelid = relation.relation and a.attname = w
           and a.attnum > 0 and not a.attisdropped));
      writable := relation.writable_columns;
      space := null;
    end if;
    -- A column that is hidden from the user is one that clients may not write.
    if relation.column_roles <> '{}' and space is distinct from changes[n].space_id then
      space := changes[n].space_id;
      relation.writable_columns := array(
        select w from unnest(writable) w
          where w <> all (perch.hidden_columns(relation.app_id, relation.table_name, space)));
    end if;
    -- Most name nothing but columns that they may write.
    if cardinality(keys) = 1 and (relation.space_id <> changes[n].space_id) is not true
      and relation.writable_columns <> '{}'
       and coalesce(changes[n].data, '{}') - relation.writable_columns::text[] = '{}'
    then
      writes := writes || coalesce(changes[n].data, '{}');
      good := good || changes[n];
      continue;
    end if;
    begin
      writes := writes || perch.check_row(relation, keys, changes[n]);
      good := good || changes[n];
    exception when sqlstate 'PE403' or sqlstate 'PE422' then
      get stacked diagnostics code = returned_sqlstate, message = message_text, details = pg_exception_detail,
        remedy = pg_exception_hint;
      results[changes[n].position] := perch.row_refusal(changes[n], code, message, details, '', '', remedy);
    end;
  end loop;

  for attempt in 1 .. 2 loop
    begin
      for run in select r.positions from perch.row_runs(good) r loop
        select r.* into strict relation from perch.synced_relations r where r.app_id = push_rows.app_id
          and r.table_name = good[run[1]].table_name;
        answers := answers || perch.apply_rows(relation, good[run[1]:run[cardinality(run)]],
          writes[run[1]:run[cardinality(run)]],
          push_rows.client_id, push_rows.now);
      end loop;
      perform perch.check_deferred(tables);
      exit;
    exception when others then
      get stacked diagnostics code = returned_sqlstate;
      if not perch.is_refusal(code) then
        raise;
      end if;
      answers := '{}';
      -- Somebody else inserted the same row: now it is in sight.
      continue when code = '23505' and attempt = 1;
      -- In the order of their keys, which is not that of the changes.
      perform perch.lock_rows(good, push_rows.app_id);
      for n in 1 .. cardinality(good) loop
        select r.* into strict relation from perch.synced_relations r where r.app_id = push_rows.app_id
          and r.table_name = good[n].table_name;
        begin
          answers := answers || perch.apply_rows(relation, good[n:n], writes[n:n], push_rows.client_id, push_rows.now);
          perform perch.check_deferred(array[relation.relation::oid]);
        exception when others then
          get stacked diagnostics code = returned_sqlstate, message = message_text, details = pg_exception_detail,
            remedy = pg_exception_hint, constraint_name = constraint_name, column_name = column_name;
          if column_name = '' and left(code, 2) in ('22', '23') and constraint_name = '' then
            column_name := coalesce(perch.column_at_fault(relation.relation, writes[n] ||
              perch.row_key(relation.relation, good[n].record_id)), '');
          end if;
          answers := answers[:n - 1] || perch.row_refusal(good[n], code, message, details, constraint_name,
            column_name, remedy);
          if answers[n] is null then
            raise;
          end if;
        end;
      end loop;
      exit;
    end;
  end loop;

  for n in 1 .. cardinality(good) loop
    results[good[n].position] := answers[n];
  end loop;
  -- They may be tried again. One by one: all at once, Postgres may read all receipts of the user for it.
  for n in 1 .. cardinality(changes) loop
    if results[changes[n].position] ->> 'status' = 'rejected' then
      delete from perch.push_receipts r
       where r.space_id = perch.personal_space_id(perch.current_user_id()) and r.op_id = changes[n].op_id;
    end if;
  end loop;
end
$$;

comment on function perch.push_rows(perch.change[], text, text, timestamptz, jsonb[]) is
  'Private. Carries out changes of rows of synced tables, in their order; adds their results.';
