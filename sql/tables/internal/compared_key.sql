-- A comparison of rows has one name for the operators of all columns. Where the columns are ordered by operators of
-- several schemas it is written out, with the first column's part by itself before it, for the index.
create or replace function perch.compared_key(alias text, keys text[], types text[], operator text, key text[])
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with parts as (
    select k.nth, k.nth = cardinality(keys) as is_last, format('%s.%I', alias, k.name) as name,
           format('%L::%s', compared_key.key[k.nth], types[k.nth]) as value, types[k.nth] as type,
           perch.key_operator(types[k.nth], compared_key.operator) as operator
      from unnest(keys) with ordinality k (name, nth)
  )
  select case
           when bool_and(p.operator = compared_key.operator) or count(*) = 1 then
             format('(%s) %s (%s)', string_agg(p.name, ', ' order by p.nth), min(p.operator),
               string_agg(p.value, ', ' order by p.nth))
           else
             (array_agg(format('%s %s %s and ', p.name,
               perch.key_operator(p.type, left(compared_key.operator, 1) || '='), p.value) order by p.nth))[1]
             || string_agg(
               case when p.is_last then format('%s %s %s', p.name, p.operator, p.value)
                 else format('(%1$s %2$s %4$s or (%1$s %3$s %4$s and ', p.name,
                   perch.key_operator(p.type, left(compared_key.operator, 1)), perch.key_operator(p.type, '='), p.value)
                 end, '' order by p.nth)
             || repeat('))', count(*)::integer - 1)
         end
    from parts p
  having compared_key.key is not null
$$;

comment on function perch.compared_key(text, text[], text[], text, text[]) is
  'Private. The condition that the primary key of a row stands so (> or <=) to another, which is given as text; null without one.';
