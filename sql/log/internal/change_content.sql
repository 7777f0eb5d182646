-- A change may say the same in several ways: a default, or not; where and when it is are told apart from it.
create or replace function perch.change_content(change jsonb)
returns text
language sql immutable parallel safe
return ((case when change ->> 'op' = 'delete' then change - 'data' else '{"data": {}}' || change end)
        - '{at,space_id,field_meta}'::text[] - case when change -> 'schema_version' = '1' then 'schema_version'
          else 'at' end)::text;

comment on function perch.change_content(jsonb) is
  'Private. What a change (without keys that are null) says, besides its space and its times, for perch.change_digest: defaults filled in, or left out.';
