create or replace function perch.without_made_up_zone(value text)
returns text
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
  if perch.has_made_up_zone(value) then
    raise exception 'a time names a time zone that nobody knows' using errcode = 'invalid_datetime_format',
      hint = 'Write offsets as numbers (+05:30), and zones by their names (Europe/Berlin).';
  end if;
  return value;
end
$$;

comment on function perch.without_made_up_zone(text) is
  'Private. A text that is to be read as times, as it is. 22007 where perch.has_made_up_zone.';
