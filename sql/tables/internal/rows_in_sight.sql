-- One evaluation for all of them. Of a row for which the filter fails nobody knows whether it may be seen: it is left
-- out, and named in the server's log by its id and the SQLSTATE; a message would quote the row.
create or replace function perch.rows_in_sight(synced perch.synced_relations, images jsonb[])
returns boolean[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  sees boolean[];
  code text;
  failed text[];
begin
  if synced.relation is null then
    return array(select false from unnest(images));
  elsif synced.row_filter is null then
    return array(select i is not null from unnest(images) with ordinality u (i, nth) order by nth);
  end if;
  begin
    execute format('select f.perch_sees, f.perch_code from %s($1) f', synced.filter_function)
      into sees, code using images;
  exception
    when undefined_function or invalid_schema_name or insufficient_privilege then
      code := sqlstate;
      perform perch.require_same_rules(synced);
      sees := array(select null::boolean from unnest(images));
    when internal_error then
      -- perch.sync_table took the function away while it ran.
      if sqlerrm like 'cache lookup failed for function %' then
        perform perch.require_same_rules(synced);
      end if;
      raise;
  end;
  if code is null then
    return sees;
  end if;
  failed := array(
    select perch.row_id(synced.relation, i.image, perch.key_columns(synced.relation))
      from unnest(images, sees) with ordinality i (image, sees, nth)
     where i.image is not null and i.sees is null order by i.nth);
  if failed = '{}' then
    return sees;
  end if;
  raise warning 'perch: row_filter of % fails for % of % rows, which are left out: %',
    synced.table_name, cardinality(failed), cardinality(images), array_to_string(failed[:10], ', ')
    using errcode = code;
  return array(select coalesce(s, false) from unnest(sees) with ordinality u (s, nth) order by nth);
end
$$;

comment on function perch.rows_in_sight(perch.synced_relations, jsonb[]) is
  'Private. Whether the row_filter of a synced table lets the current user see each of these rows, which are whole rows as JSON: old or new images, or to_jsonb(t.*). False for null, for a row for which the filter fails, and where the table is not synced (null). 40001 when the rules of the table are others by now than in these options of it.';
