-- What was pushed in an earlier transaction is applied, and stays so: its answer is true. What repeats an op_id of this
-- push is undone with it.
create or replace function perch.aborted(answer jsonb)
returns jsonb
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object('results', json_agg(
           case when r.result ->> 'status' = 'rejected'
                     or r.result ->> 'status' = 'replayed' and not exists (
                          select from jsonb_array_elements(answer -> 'results') o
                           where o ->> 'status' = 'applied' and o -> 'op_id' = r.result -> 'op_id')
                then r.result
                else perch.rejection(r.result ->> 'op_id', r.result ->> 'space_id', 'PE409',
                  'conflict: aborted, since another change of this atomic push was rejected',
                  jsonb_build_object('reason', 'aborted', 'at', f.at, 'op_id', f.op_id),
                  'Mend or leave out the change that was rejected, and push the others again as they are.') end
                           order by r.nth))
    from jsonb_array_elements(answer -> 'results') with ordinality r (result, nth)
   cross join (
     select o.nth - 1 as at, o.result -> 'op_id' as op_id
       from jsonb_array_elements(answer -> 'results') with ordinality o (result, nth)
      where o.result ->> 'status' = 'rejected' order by o.nth limit 1) f
$$;

comment on function perch.aborted(jsonb) is
  'Private. The answer of a push one of whose changes was rejected, for when all of it was undone: the others are PE409.';
