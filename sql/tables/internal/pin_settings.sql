-- Until the transaction ends, or perch.unpin_settings. The writer's own time zone and styles are put back before its
-- statement is over.
create or replace function perch.pin_settings()
returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  before constant jsonb := jsonb_build_object('timezone', current_setting('timezone'), 'datestyle',
    current_setting('datestyle'),
    'intervalstyle', current_setting('intervalstyle'), 'bytea_output', current_setting('bytea_output'),
    'extra_float_digits', current_setting('extra_float_digits'), 'row_security', current_setting('row_security'));
begin
  perform set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO, MDY', true), set_config('intervalstyle',
    'postgres', true),
          set_config('bytea_output', 'hex', true), set_config('extra_float_digits', '1', true),
            set_config('row_security', 'on', true);
  return before;
end
$$;

comment on function perch.pin_settings() is
  'Private. Sets what the text of values depends on to what synced rows are written with, and row_security to on. Returns what was set, for perch.unpin_settings.';
