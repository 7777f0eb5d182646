-- Runs as perch_owner, as whom alone rules are asked, and names one user after the other; the context that was there
-- before is back at the end. Of a user one table is asked about at once.
create or replace function perch.documents_in_sight(
  user_ids text[], lists jsonb[], space_ids text[], app_ids text[], table_names text[], record_ids text[]
)
returns boolean[]
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  names constant text[] :=
    '{app.current_user_id,app.current_user_space_ids,app.current_user_writable_space_ids}';
  before constant text[] := array(
    select coalesce(current_setting(n, true), '') from unnest(names) with ordinality u (n, nth) order by nth);
  answer boolean[] := array_fill(true, array[cardinality(user_ids)]);
  batch record;
  sees boolean[];
  ignored text;
begin
  for batch in
    select d.app_id, d.table_name, d.user_id, d.list, array_agg(d.nth order by d.nth) as nths,
           array_agg(d.space_id order by d.nth) as space_ids, array_agg(d.record_id order by d.nth) as record_ids
      from unnest(user_ids, lists, space_ids, app_ids, table_names, record_ids) with ordinality
             d (user_id, list, space_id, app_id, table_name, record_id, nth)
      join perch.synced_relations r on r.app_id = d.app_id and r.table_name = d.table_name
     where d.user_id <> '' and r.documents <> '{}' and (r.row_filter is not null or r.column_roles <> '{}')
     group by d.app_id, d.table_name, d.user_id, d.list
  loop
    perform perch.set_context(batch.user_id,
      case when batch.list is not null then array(select jsonb_array_elements_text(
        case jsonb_typeof(batch.list -> 'readable') when 'array' then batch.list -> 'readable' else '[]' end)) end,
      case when batch.list is not null then array(select jsonb_array_elements_text(
        case jsonb_typeof(batch.list -> 'writable') when 'array' then batch.list -> 'writable' else '[]' end)) end);
    sees := perch.rows_with_documents_in_sight(perch.ruled_documents(batch.app_id, batch.table_name),
      batch.space_ids, batch.record_ids);
    for nth in 1 .. cardinality(batch.nths) loop
      answer[batch.nths[nth]] := sees[nth];
    end loop;
  end loop;
  for nth in 1 .. cardinality(names) loop
    ignored := set_config(names[nth], before[nth], true);
  end loop;
  return answer;
end
$$;
grant execute on function perch.documents_in_sight to perch_worker;

comment on function perch.documents_in_sight(text[], jsonb[], text[], text[], text[], text[]) is
  'Private. Whether the rules of synced tables let each of these users see the document beside it, in their order; true where there are none. lists: the spaces that a token names ({"readable": […], "writable": […]}; null: those of perch.space_members). That a user may read the space is asked for elsewhere, too.';
