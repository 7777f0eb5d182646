-- The table decides, for it takes rights to write it; a setting of the session, which anybody may change, can only make a limit
-- narrower, for whoever does so. plpgsql keeps the plan from call to call.
create or replace function perch.setting(name text, fallback bigint)
returns bigint
language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
  return least(
    coalesce((select l.value from perch.limits l where l.name = setting.name), fallback),
    nullif(current_setting('perch.' || setting.name, true), '')::bigint);
end
$$;

comment on function perch.setting(text, bigint) is
  'Private. A limit of perch: what perch.set_limit has made it, or its fallback; or the setting perch.<name> of the session, where that is less.';
