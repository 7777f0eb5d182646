-- A constraint or a trigger of the app's on perch's tables, or an error of perch's own that a trigger raised, concerns
-- the change that was written. All else does not: a connection that goes, a lock that is not got, and mistakes in
-- functions (class 42), which are perch's, or mended by who made them, while the change waits in an outbox. Nor do
-- perch's own keys and columns, which no change can break.
--
-- A warning goes to the server's log, for the operator: it has the message, which the client is not shown, since it may
-- quote others' data.
create or replace function perch.refusal(
  change perch.change, code text, message text, detail text, constraint_name text, schema_name text, hint text
)
returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  is_conflict constant boolean := code in ('23503', '23505', '23P01');
  found jsonb;
begin
  if not perch.is_refusal(code) or left(code, 2) = '42' then
    return null;
  elsif code like 'PE___' then
    begin
      found := detail::jsonb;
    exception when data_exception then
      found := to_jsonb(detail);
    end;
    return perch.rejection(change.op_id, change.space_id, code, message, found, hint);
  elsif left(code, 2) = '23' and schema_name = 'perch'
    and (constraint_name = '' or constraint_name like E'%\\_pkey')
  then
    return null;
  end if;
  raise warning 'perch: a rule of this database refused a change of %/%: %', change.table_name, change.record_id,
    message
    using errcode = code, hint = 'The change was rejected; those beside it were not.';
  return perch.rejection(change.op_id, change.space_id,
    case when is_conflict then 'PE409' else 'PE422' end,
    case when perch.is_apps_code(code) then format('invalid: %s', message)
         when constraint_name <> '' then format('%s: the constraint %s refuses it',
           case when is_conflict then 'conflict' else 'invalid' end, constraint_name)
         else 'invalid: a trigger or constraint of this database cannot take it' end,
    jsonb_build_object('sqlstate', code, 'constraint', nullif(constraint_name, '')),
    case when perch.is_apps_code(code) then hint
         when constraint_name = '' then
           'The same is refused again; the log of the database says why, as a warning.' end);
end
$$;

comment on function perch.refusal(perch.change, text, text, text, text, text, text) is
  'Private. The result of a change whose writing failed with this error, where the error is the change''s own; null where it is not.';
