create or replace function perch.read_time(value jsonb, what text)
returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  -- With its offset it may still be before 1970.
  if jsonb_typeof(value) = 'string' and perch.is_time(value #>> '{}')
    and (value #>> '{}')::timestamptz >= '1970-01-01T00:00:00Z' then
    return (value #>> '{}')::timestamptz;
  end if;
  perform perch.fail('PE422', format('%s is not a time', what),
    jsonb_build_object('argument', what, 'expected', '2026-01-01T10:00:00.000Z', 'got', left(value::text, 100)),
    'Give an ISO 8601 time with its offset (Z, or up to 15:59), from 1970 to 9999.');
end
$$;

comment on function perch.read_time(jsonb, text) is
  'Private. The time that a JSON string names (see perch.is_time); PE422 for anything else.';
