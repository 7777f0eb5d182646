create or replace function perch.check_push(app_id text, changes jsonb, client_id text)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  max_count constant bigint := perch.setting('max_changes_per_push', 10000);
begin
  perform perch.check_id(check_push.app_id, 'app_id', 64);
  if check_push.client_id is not null then
    perform perch.check_id(check_push.client_id, 'client_id');
  end if;
  if jsonb_typeof(changes) is distinct from 'array' then
    perform perch.fail('PE422', 'changes is not an array',
      jsonb_build_object('argument', 'changes', 'expected', 'array', 'got', coalesce(jsonb_typeof(changes), 'null')));
  end if;
  if jsonb_array_length(changes) > max_count then
    perform perch.fail('PE413', format('more than %s changes in one push', max_count),
      jsonb_build_object('limit', 'max_changes_per_push', 'max', max_count, 'got', jsonb_array_length(changes)));
  end if;
end
$$;

comment on function perch.check_push(text, jsonb, text) is
  'Private. Refuses a whole push whose arguments are none: PE422, PE413.';
