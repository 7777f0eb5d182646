-- What the app's rules refuse is the change's own error; for whose sake Postgres undoes a statement, or what the
-- server cannot do, is not. DETAIL is shown of perch's codes alone: Postgres writes whole rows and keys into its own.
-- So are messages and hints, but what the app itself raises.
create or replace function perch.row_refusal(
  change perch.change, code text, message text, detail text, constraint_name text, column_name text, hint text
)
returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  is_conflict constant boolean := code in ('23503', '23505', '23P01');
  found jsonb;
begin
  if not perch.is_refusal(code) then
    return null;
  elsif code like 'PE___' then
    begin
      found := detail::jsonb;
    exception when data_exception then
      found := to_jsonb(detail);
    end;
    return perch.rejection(change.op_id, change.space_id, code, message, found, hint);
  end if;
  raise warning 'perch: the rules of table % refused a change of %: %', change.table_name, change.record_id, message
    using errcode = code, hint = 'The change was rejected; those beside it were not.';
  return perch.rejection(change.op_id, change.space_id,
    case when code = '42501' then 'PE403' when is_conflict then 'PE409' else 'PE422' end,
    case
      when perch.is_apps_code(code) then format('invalid: %s', message)
      when code = '42501' then format('forbidden: the policies of table %s do not let this user write the row',
        change.table_name)
      when constraint_name <> '' then format('%s: the constraint %s refuses it', case when is_conflict
        then 'conflict' else 'invalid' end, constraint_name)
      when column_name <> '' then format('invalid: column %s cannot take it', column_name)
      else format('invalid: table %s cannot take it', change.table_name) end,
    jsonb_strip_nulls(jsonb_build_object('table', change.table_name, 'sqlstate', code,
      'constraint', nullif(constraint_name, ''), 'column', nullif(column_name, ''))),
    case when perch.is_apps_code(code) then hint
         when constraint_name = '' and column_name = '' and code <> '42501' then
           'The same is refused again; the log of the database says why, as a warning.' end);
end
$$;

comment on function perch.row_refusal(perch.change, text, text, text, text, text, text) is
  'Private. The result of a change of a synced row whose writing failed with this error; null where the error is not the change''s own.';
