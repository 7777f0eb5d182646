create or replace function perch.compared_key(alias text, keys text[], types text[], operator text, key text[])
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select format('(%s) %s (%s)', string_agg(format('%s.%I', alias, k.name), ', ' order by k.nth), operator,
           string_agg(format('%L::%s', compared_key.key[k.nth], types[k.nth]), ', ' order by k.nth))
    from unnest(keys) with ordinality k (name, nth)
  having compared_key.key is not null
$$;

comment on function perch.compared_key(text, text[], text[], text, text[]) is
  'Private. The condition that the primary key of a row stands so to another, which is given as text; null without one.';
