-- By the names, of which there are few: what is not wanted, a long text say, is not copied.
create or replace function perch.chosen_fields(data jsonb, names jsonb)
returns jsonb
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select case when names is null or data is null then data else (
    select coalesce(json_object_agg(n, data -> n)::jsonb, '{}') from jsonb_array_elements_text(names) n where data ? n)
    end
$$;

comment on function perch.chosen_fields(jsonb, jsonb) is
  'Private. Of data, or of the times of its fields, those that a JSON list names; all of it where there is no list.';
