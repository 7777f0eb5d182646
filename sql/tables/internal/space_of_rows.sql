create or replace function perch.space_of_rows(relation perch.synced_relations, rows jsonb[])
returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  spaces text[];
begin
  if relation.space_id is not null then
    return array(select case when r is not null then relation.space_id end from unnest(rows) with ordinality u (r,
      nth) order by nth);
  elsif relation.space_column is not null then
    return array(
      select case when r is null then null when r ? relation.space_column then r ->> relation.space_column
        else perch.renamed_space(relation.relation, r) end
        from unnest(rows) with ordinality u (r, nth) order by nth);
  end if;
  begin
    execute format(
      'select array_agg(case when p.perch_row is not null then p.perch_space end order by p.perch_nth)
         from (select u.perch_row, u.perch_nth, s.perch_space
                 from unnest($1) with ordinality u (perch_row, perch_nth)
                cross join lateral (select (%s)::text from jsonb_populate_record(null::%s,
                  u.perch_row)) s (perch_space)) p',
      relation.space_expression, relation.relation) into spaces using rows;
  exception when assert_failure or others then
    if perch.is_servers_code(sqlstate) then
      raise;
    end if;
    -- For one of them it fails: that is in no space, and the others are where they are.
    spaces := array(
      select case when r is not null then perch.try_space(relation.space_expression, relation.relation, r) end
        from unnest(rows) with ordinality u (r, nth) order by nth);
  end;
  return spaces;
end
$$;
grant execute on function perch.space_of_rows to perch_worker;

comment on function perch.space_of_rows(perch.synced_relations, jsonb[]) is
  'Private. The space of each row of a synced table; null for no row.';
