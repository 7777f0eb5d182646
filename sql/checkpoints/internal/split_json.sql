-- Where one run of elements ends and the next begins depends on the elements alone, not on their place: what is added
-- or changed somewhere leaves the runs elsewhere as they were. (hashtext may differ between builds: then less is
-- shared, nothing else.)
create or replace function perch.split_json(json_text text, separator text)
returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  colon constant text := case separator when ', ' then ': ' else ':' end;
  opens constant text := left(split_json.json_text, 1);
  bodies text[];
begin
  if opens not in ('[', '{') or octet_length(split_json.json_text) < 16384 then
    return array[split_json.json_text];
  end if;
  with elements as (
    select a.value::text as body, a.nth
      from json_array_elements(case opens when '[' then split_json.json_text::json end) with ordinality a (value, nth)
    union all
    select to_json(o.key)::text || colon || o.value::text, o.nth
      from json_each(case opens when '{' then split_json.json_text::json end) with ordinality o (key, value, nth)
  ), measured as (
    select e.body, e.nth, octet_length(e.body) >= 4096 as is_long, hashtext(e.body collate "C") & 7 = 0 as is_last
      from elements e
  ), numbered as (
    select m.body, m.nth,
           count(*) filter (where m.is_long) over (order by m.nth)
             + count(*) filter (where m.is_long
               or m.is_last) over (order by m.nth rows between unbounded preceding and 1 preceding) as run
      from measured m
  ), runs as (
    select n.run, string_agg(n.body, separator order by n.nth) as body from numbered n group by n.run
  )
  select array_agg(r.body order by r.run) into bodies from runs r;
  -- Joined again it must be what it was, to the letter: JSON can be written in more ways than these.
  if cardinality(bodies) < 2 or opens || array_to_string(bodies, separator) || right(split_json.json_text,
    1) <> split_json.json_text then
    return array[split_json.json_text];
  end if;
  return bodies;
end
$$;

comment on function perch.split_json(text, text) is
  'Private. The elements of a long JSON array or object, in runs without brackets. separator: what is between elements, '','' or, as jsonb writes it, '', ''. One run, the text itself, when it is not long, no array or object, or would not be the same text when joined again.';
