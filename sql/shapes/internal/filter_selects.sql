create or replace function perch.filter_selects(node jsonb, is_positive boolean, nested boolean default false)
returns table (found jsonb, is_plain boolean)
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  word constant text := case when jsonb_typeof(node -> 0) = 'string' then node ->> 0 end;
begin
  -- Most filters have none, and may have thousands of values.
  if jsonb_typeof(node) is distinct from 'array' or position('"select"' in node::text) = 0 then
    return;
  elsif word = 'select' and jsonb_array_length(node) = 6 then
    return query select node, is_positive;
    if nested then
      return query select s.* from perch.filter_selects(node -> 5, true, true) s;
    end if;
    return query select s.* from perch.filter_selects(node -> 1, false, nested) s;
  else
    return query
      select s.* from jsonb_array_elements(node) e (part)
       cross join lateral perch.filter_selects(e.part, is_positive and coalesce(word in ('and', 'or'), true), nested) s;
  end if;
end
$$;

comment on function perch.filter_selects(jsonb, boolean, boolean) is
  'Private. The sub-selects of a filter, nested: also those in them; is_plain: nothing but AND and OR stands around.';
