-- What to do follows from what a program is told, where that says what is expected, or which limit it is over.
create or replace function perch.hint_for(code text, detail jsonb)
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when detail ? 'expected' then format('Expected%s: %s.',
      ' for ' || coalesce(detail ->> 'argument', detail ->> 'field'),
      case jsonb_typeof(detail -> 'expected') when 'array' then (
        select string_agg(e, ', ' order by n)
          from jsonb_array_elements_text(detail -> 'expected') with ordinality x (e, n))
      else detail ->> 'expected' end)
    when detail ->> 'limit' = any (perch.limit_names()) then
      format('Send less at once; or let a DBA raise the limit: select perch.set_limit(name => %L, value => …).',
        detail ->> 'limit')
    when detail ? 'limit' and detail ? 'max' then format('At most %s may be given.', detail ->> 'max')
    when code = 'PE404' then 'Check its ids, the space among them, and whether it was deleted meanwhile.' end
   where jsonb_typeof(detail) = 'object'
$$;
grant execute on function perch.hint_for to perch_worker;

comment on function perch.hint_for(text, jsonb) is
  'Private. What to do about an error of perch that says it nowhere else, by its DETAIL; null where that does not tell.';
