-- The table decides (by way of perch.limit_values), for it takes rights to write it; a setting of the session, which
-- anybody may change, can only make a limit narrower, for whoever does so. One expression, which the planner takes into
-- its callers, and works out but for the session's part.
create or replace function perch.setting(name text, fallback bigint)
returns bigint
language sql stable parallel safe
return least(
  coalesce((perch.limit_values() ->> setting.name)::bigint, fallback),
  nullif(current_setting('perch.' || setting.name, true), '')::bigint);
grant execute on function perch.setting to perch_worker;

comment on function perch.setting(text, bigint) is
  'Private. A limit of perch: what perch.set_limit has made it, or its fallback; or the setting perch.<name> of the session, where that is less.';
