create or replace function perch.merge_ends(a jsonb, b jsonb)
returns jsonb
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_object_agg(m.peer, m.counter), '{}')
    from (select e.key as peer, max(e.value::bigint) as counter
            from (select * from jsonb_each_text(a) union all select * from jsonb_each_text(b)) e
           group by e.key) m
$$;
grant execute on function perch.merge_ends to perch_worker;

comment on function perch.merge_ends(jsonb, jsonb) is
  'Private. The union of two versions, each {"<peer>": counter behind its last operation}: for each peer the greater counter.';
