create or replace function perch.unpin_settings(before jsonb)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  perform set_config(s.key, s.value, true) from jsonb_each_text(before) s;
end
$$;

comment on function perch.unpin_settings(jsonb) is 'Private. Puts back what perch.pin_settings found.';
