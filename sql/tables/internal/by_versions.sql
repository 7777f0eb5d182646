-- An update goes on from the version that the change before it made: what was done to one version after another is a
-- chain. It begins with an insertion, or with what was there before the transaction, and ends with a deletion, or with
-- what is there behind it. Of a key that is checked at once there is one row at a time. So the chain that found a row
-- comes first, that which leaves one comes last, and those between them, of which nothing is left, as they were
-- captured.
--
-- Where more than one found a row, or leaves one, or a table has another file, it was written anew in between (ALTER
-- TABLE, TRUNCATE), and versions do not say in which order that was.
create or replace function perch.by_versions(places perch.captured_changes[])
returns integer[]
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  follows integer[];
  starts integer[];
  ops text[];
  chain integer[];
  start integer;
  place integer;
  first integer[];
  others integer[] := '{}';
  last integer[];
begin
  -- All of them in one statement: each subscript of places would go through the array from its beginning.
  with each as materialized (
    select c.ordinality::integer as place, c.op, c.old_version, c.new_version
      from unnest(by_versions.places) with ordinality c
  ),
  steps as (
    select e.place, e.op, max(n.place) as next, count(n.place) as followers, count(b.place) as led
      from each e
      left join each n on n.old_version = e.new_version
      left join each b on b.new_version = e.old_version
     group by e.place, e.op
  )
  select array_agg(s.next order by s.place),
         array_agg(s.place order by s.place) filter (where s.led = 0),
         array_agg(s.op order by s.place)
    into follows, starts, ops
    from steps s
  having max(s.followers) <= 1 and max(s.led) <= 1
     and count(*) filter (where s.led = 0 and s.op <> 'insert') <= 1
     and count(*) filter (where s.next is null and s.op <> 'delete') <= 1
     and not exists (
       select from each e cross join lateral unnest(array[e.old_version, e.new_version]) v (version)
        group by split_part(v.version, '/', 1) having count(distinct split_part(v.version, '(', 1)) > 1);
  if starts is null then
    return null;
  end if;
  foreach start in array starts loop
    place := start;
    chain := '{}';
    loop
      chain := chain || place;
      exit when follows[place] is null;
      place := follows[place];
    end loop;
    if ops[start] <> 'insert' then
      first := chain;
    elsif ops[place] <> 'delete' then
      last := chain;
    else
      others := others || chain;
    end if;
  end loop;
  return first || others || last;
end
$$;

comment on function perch.by_versions(perch.captured_changes[]) is
  'Private. In which order one transaction did to one key what was captured row by row: the places in the array; null: versions do not say. In: all that it did to the key, as it was captured.';
