-- The cast accepts much more (words such as now and infinity, dates, local times), hence the pattern first.
create or replace function perch.read_time(value jsonb, what text)
returns timestamptz
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if jsonb_typeof(value) = 'string'
     and value #>> '{}' ~ '^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,12})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)$' then
    return (value #>> '{}')::timestamptz;
  end if;
  perform perch.fail('PE422', format('%s is not a time', what),
    jsonb_build_object('argument', what, 'expected', '2026-01-01T10:00:00.000Z', 'got', left(value::text, 100)));
exception when datetime_field_overflow or invalid_datetime_format or invalid_text_representation or invalid_parameter_value then
  perform perch.fail('PE422', format('%s is not a time', what),
    jsonb_build_object('argument', what, 'expected', '2026-01-01T10:00:00.000Z', 'got', left(value::text, 100)));
end
$$;

comment on function perch.read_time(jsonb, text) is
  'Private. The time that a JSON string names: ISO 8601 with a zone; PE422 for anything else.';
