create or replace function perch.check_changes(app_id text, changes jsonb, now timestamptz, out accepted perch.change[],
  out results jsonb[])
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  personal constant text := perch.personal_space_id(perch.current_user_id());
  change jsonb;
  place integer := 0;
  code text;
  message text;
  details text;
  remedy text;
begin
  accepted := '{}';
  for change in select c from jsonb_array_elements(check_changes.changes) c loop
    place := place + 1;
    begin
      accepted := accepted || perch.read_change(change, place, check_changes.app_id, check_changes.now);
      results[place] := null;
    exception when sqlstate 'PE403' or sqlstate 'PE413' or sqlstate 'PE422' then
      get stacked diagnostics code = returned_sqlstate, message = message_text, details = pg_exception_detail,
        remedy = pg_exception_hint;
      -- An upgrade that fails is for the operator to mend.
      if details::jsonb ? 'from_version' then
        raise warning 'perch: a change of %/% was rejected: %', change ->> 'table', change ->> 'id',
          message using errcode = code, hint = remedy;
      end if;
      results[place] := perch.rejection(
        case when jsonb_typeof(change -> 'op_id') = 'string' then left(change ->> 'op_id', 256) end,
        case when jsonb_typeof(change) = 'object' then
          case coalesce(jsonb_typeof(change -> 'space_id'), 'null') when 'string' then left(change ->> 'space_id', 256)
            when 'null' then personal end end,
        code, message, details::jsonb, remedy);
    end;
  end loop;
end
$$;

comment on function perch.check_changes(text, jsonb, timestamptz) is
  'Private. Checks changes one by one: those that can be taken, and for the others, by position, the result that says what is wrong.';
