-- Not the call's own: what Postgres undoes for the sake of others, or for its time (classes 40, 55 and 57), and what
-- the server itself cannot do (08, 53, 58, XX). The same again may succeed, so nobody takes it for refused.
--
-- DETAIL is shown of perch's codes alone: Postgres writes whole rows and keys into its own. So is HINT, but for what
-- the function itself raises.
create or replace function perch.call_refusal(
  change perch.change, code text, message text, detail text, constraint_name text, column_name text, hint text
)
returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  is_conflict constant boolean := code in ('23503', '23505', '23514', '23P01');
  found jsonb;
begin
  if left(code, 2) in ('08', '40', '53', '55', '57', '58', 'XX') then
    return null;
  elsif code like 'PE___' then
    begin
      found := detail::jsonb;
    exception when data_exception then
      found := to_jsonb(detail);
    end;
    return perch.rejection(change.op_id, null, code, message, found, hint);
  end if;
  -- A mistake in the function is for its author to mend.
  if left(code, 2) not in ('22', '23', '44', 'P0') then
    raise warning 'perch: mutator % failed: %', change.table_name, message
      using errcode = code, hint = 'The call was rejected, and is until the function is mended.';
  end if;
  return perch.rejection(change.op_id, null, case when is_conflict then 'PE409' else 'PE422' end,
    format('%s: %s', case when is_conflict then 'conflict' else 'invalid' end, message),
    jsonb_strip_nulls(jsonb_build_object('name', change.table_name, 'sqlstate', code,
      'constraint', nullif(constraint_name, ''), 'column', nullif(column_name, ''))),
    case when code = 'P0001' then hint end);
end
$$;

comment on function perch.call_refusal(perch.change, text, text, text, text, text, text) is
  'Private. The result of a call whose function failed with this error; null where the error is not the call''s own.';
