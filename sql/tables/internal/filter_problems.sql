-- Asked for nobody in particular, of as many rows as can be looked at in a moment. As perch_owner, who may read the
-- table and execute the filter.
create or replace function perch.filter_problems(relation regclass)
returns text[]
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  synced perch.synced_relations;
  started constant timestamptz := clock_timestamp();
  image jsonb;
  images jsonb[];
  sees boolean[];
  code text;
  failed bigint := 0;
  looked_at bigint := 0;
  example text;
  rows refcursor;
begin
  select r.* into synced from perch.synced_relations r where r.relation = filter_problems.relation;
  if synced.row_filter is null or not exists (select from pg_class c where c.oid = filter_problems.relation) then
    return '{}';
  end if;
  begin
    execute format('select f.perch_code from %s(array[]::jsonb[]) f', synced.filter_function) into code;
    if code is not null then
      return array[format('its row_filter cannot be evaluated (%s), so nobody sees any of its rows', code)];
    end if;
    open rows for execute format('select to_jsonb(t.*) from %s t', synced.relation);
    loop
      images := '{}';
      for nth in 1 .. 100 loop
        fetch rows into image;
        exit when not found;
        images := array_append(images, image);
      end loop;
      exit when images = '{}';
      execute format('select f.perch_sees, f.perch_code from %s($1) f', synced.filter_function)
        into sees, code using images;
      looked_at := looked_at + cardinality(images);
      for nth in 1 .. cardinality(sees) loop
        if sees[nth] is null then
          failed := failed + 1;
          example := coalesce(example, format('%s (%s)', perch.row_id(synced.relation, images[nth],
            perch.key_columns(synced.relation)), code));
        end if;
      end loop;
      exit when clock_timestamp() > started + interval '100 ms';
    end loop;
    close rows;
  exception when undefined_function or invalid_schema_name or insufficient_privilege then
    return array[format('its row_filter cannot be evaluated (%s), so nobody sees any of its rows', sqlstate)];
  end;
  if failed > 0 then
    return array[format('its row_filter fails for %s of the %s rows looked at, which nobody sees, such as %s', failed,
      looked_at, example)];
  end if;
  return '{}';
end
$$;
grant execute on function perch.filter_problems to perch_worker;

comment on function perch.filter_problems(regclass) is
  'Private. What is wrong with the row_filter of a synced table: that it cannot be evaluated, or how many rows it fails for, with one of them by its id.';
