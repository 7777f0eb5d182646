-- A constant takes its type from what it stands beside. So where anything in a part of a filter is a time, none of the
-- constants in it may be one that names a zone that was made up; what is compared elsewhere in the filter has no
-- bearing on it. Which zone a function is given is seen in the filter itself: it is a constant.
create or replace function perch.check_times(node jsonb, columns jsonb)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  -- Of a sub-select its condition is looked at by itself, with the columns of its table.
  part constant jsonb := case node ->> 0 when 'select' then jsonb_build_array('select', node -> 1) else node end;
  zone jsonb;
begin
  for zone in
    select case z.call ->> 1 when 'timezone' then z.call -> 2 -> 0 else z.call -> 2 -> 2 end
      from jsonb_path_query(part, 'strict $.** ? (@.type() == "array" && @[0] == "call")') z (call)
     where z.call ->> 1 = 'timezone' or z.call ->> 1 = 'date_trunc' and jsonb_array_length(z.call -> 2) = 3
  loop
    continue when zone ->> 0 = 'cast' and zone ->> 2 = 'interval';
    if zone ->> 0 = 'cast' then
      zone := zone -> 1;
    end if;
    if zone ->> 0 <> 'value' or perch.has_made_up_zone(zone ->> 1)
      or zone ->> 1 ~ '^[^[:alpha:]]' and zone ->> 1 !~ '^[-+]?[0-9]{1,2}(:[0-9]{2})?$'
    then
      perform perch.fail('PE422', 'a filter names a time zone by a constant, which is one that is known',
        jsonb_build_object('part', 'timezone'), 'For example: at time zone ''Europe/Berlin'', or ''+02''.');
    end if;
  end loop;
  if exists (
    select from jsonb_path_query(part, 'strict $.** ? (@.type() == "array" && @[0] == "value")') v
     where perch.has_made_up_zone(v ->> 1))
    and (node ->> 0 = 'select' or exists (
      select from jsonb_path_query(part, 'strict $.** ? (@.type() == "array" && @[0].type() == "string")') n
       where case n ->> 0
               when 'column' then perch.reads_times(to_regtype(columns -> (n ->> 1) ->> 'spelled'))
               when 'cast' then perch.reads_times(coalesce(to_regtype(n ->> 2), (
                 -- A type of the table's own.
                 select to_regtype(c.value ->> 'spelled') from jsonb_each(columns) c
                  where n ->> 2 in (c.value ->> 'name', c.value ->> 'spelled') limit 1)))
               when 'call' then n ->> 1 ~ '^(date|time|overlaps|extract|isfinite|make_date|to_timestamp)' end))
  then
    perform perch.fail('PE422', 'a time in the filter names a time zone that nobody knows',
      jsonb_build_object('part', 'value'),
      'Write offsets as numbers (+05:30), and zones by their names (Europe/Berlin).');
  end if;
end
$$;

comment on function perch.check_times(jsonb, jsonb) is
  'Private. PE422 where a part of a filter (a tree) would have Postgres read times of zones that were made up. columns: as perch.shape_columns says.';
