-- json, unlike jsonb, keeps what it is given letter by letter, and jsonb writes every number with all its digits.
create or replace function perch.contents_as_text(answer text, list text)
returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select concat('{', string_agg(concat(to_json(a.key), ':', case when a.key = list then coalesce(i.items, '[]')
    else a.value::text end), ','), '}')
    from json_each(answer::json) a
    left join lateral (
      select json_agg(m.item order by e.nth)::text
        from json_array_elements(case when a.key = list then a.value else '[]' end) with ordinality e (item, nth)
       cross join lateral (
         select json_object_agg(f.key, case
           when f.key in ('data', 'actor') and json_typeof(f.value) <> 'null' then to_json(f.value::text)
           else f.value end)
           from json_each(e.item) f) m (item)) i (items) on true
$$;
grant execute on function perch.contents_as_text to perch_app;

comment on function perch.contents_as_text(text, text) is
  'What perch.pull_text (list: changes) or perch.snapshot_records, as text (list: records), returned, with data and actor of each as a string that holds their JSON: so that a program can read the users'' own JSON with a parser of its choice, and all else with its ordinary one. Example: select perch.contents_as_text(answer => perch.pull_text(app_id => ''todo''), list => ''changes'');';
