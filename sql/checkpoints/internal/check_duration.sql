create or replace function perch.check_duration(duration interval)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if duration is null or duration <= '0' or duration > '1 day' then
    perform perch.fail('PE422', 'the duration is not between 0 and 1 day',
      jsonb_build_object('argument', 'duration', 'expected', 'more than 0, at most 1 day', 'got', duration));
  end if;
end
$$;

comment on function perch.check_duration(interval) is 'Private. PE422 unless more than nothing and at most a day.';
