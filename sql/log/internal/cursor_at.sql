create or replace function perch.cursor_at(
  places perch.log_place[], app_id text, tables text[], epoch text, rules text, behind text[]
)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return jsonb_strip_nulls(jsonb_build_object(
      'v', 2, 'app', app_id, 'tables', perch.tables_digest(tables), 'epoch', epoch, 'rules', rules))
    || (select jsonb_build_object(
                 'spaces', json_object_agg(p.space_id, case when rules is null then json_build_array(p.stop, p.mark)
                                                            else json_build_array(p.stop, p.mark, p.role) end)::jsonb,
                 'behind', to_jsonb(array(
                   select b.space_id from unnest(places) b
                    where b.stop < b.head and b.space_id = any (cursor_at.behind))))
          from unnest(places) p);
end
$$;

comment on function perch.cursor_at(perch.log_place[], text, text[], text, text, text[]) is
  'Private. The cursor (perch.read_cursor) of a reader who stands at the stop of each place.';
