-- A constraint that is deferred speaks at the commit, where nothing tells any more which change it speaks of, and
-- nothing of the push is left. So a push that failed there is done again by this: with constraints that speak at each
-- statement perch.push rejects by name what is at fault (perch.write_each). A change that was refused may need one
-- behind it, which is what constraints are deferred for: so what a rule refused is pushed again, until nothing more
-- comes of it. (Two that need each other are refused both.)
create or replace function perch.push_immediately(app_id text, changes jsonb, client_id text)
returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  results jsonb[];
  places integer[];
  left_over integer[];
begin
  set constraints all immediate;
  results := array(
    select r from jsonb_array_elements(perch.push(push_immediately.app_id, push_immediately.changes,
      push_immediately.client_id) -> 'results') r);
  loop
    left_over := array(
      select r.nth from unnest(results) with ordinality r (result, nth)
       where r.result ->> 'status' = 'rejected' and r.result #>> '{error,detail,sqlstate}' is not null);
    exit when left_over = '{}' or left_over = places;
    places := left_over;
    select array_agg(coalesce(a.result, results[n]) order by n) into results
      from generate_series(1, cardinality(results)) n
      left join (
        select places[e.nth] as nth, e.result
          from jsonb_array_elements(perch.push(push_immediately.app_id,
                 (select json_agg(push_immediately.changes -> (p - 1) order by p)::jsonb from unnest(places) p),
                 push_immediately.client_id) -> 'results') with ordinality e (result, nth)) a on a.nth = n;
  end loop;
  return jsonb_build_object('results', to_jsonb(results));
end
$$;
grant execute on function perch.push_immediately to perch_app;

comment on function perch.push_immediately(text, jsonb, text) is
  'perch.push, with constraints that are deferred to the commit checked here: a change that breaks one is rejected by name, and the others apply. All constraints of the transaction speak at once from then on. For the gateway, where a push failed at its commit; in transactions of your own the commit says it. Errors: as perch.push. Example: select perch.push_immediately(app_id => ''todo'', changes => ''[]'', client_id => ''phone'');';
