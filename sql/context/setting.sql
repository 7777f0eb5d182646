-- One expression, which the planner takes into the statement around it. (Its operators are resolved here, once, whatever the caller's
-- search_path.)
create or replace function perch.setting(name text, fallback bigint)
returns bigint
language sql stable parallel safe
return coalesce(nullif(current_setting('perch.' || name, true), '')::bigint, fallback);

comment on function perch.setting(text, bigint) is
  'Private. A limit of perch, which a DBA sets with, for example, alter database app set perch.max_update_bytes = 4194304, or its fallback.';
