-- As many as make a page, and the rest of the transaction in which it would end. Each has an entry at least.
create or replace function perch.log_runs(after_place bigint, after_seq bigint, max_count integer)
returns perch.commit_order[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  runs perch.commit_order[];
  rest perch.commit_order[];
  nth integer;
begin
  select array_agg(a.run order by a.place) into runs
    from (
      select c as run, c.position as place, sum(c.last_seq - c.first_seq + 1) over (order by c.position)
               - (c.last_seq - c.first_seq + 1) as before
        from (
          select x.* from perch.commit_order x
           where x.position > after_place or x.position = after_place and x.last_seq > after_seq
           order by x.position limit max_count) c) a
   where a.before < max_count;
  if runs is null then
    return '{}';
  end if;
  if runs[1].position = after_place then
    runs[1].first_seq := greatest(runs[1].first_seq, after_seq + 1);
  end if;
  nth := cardinality(runs);
  select array_agg(r.run order by r.place) into rest
    from (
      select c as run, c.position as place, bool_and(c.txid = runs[nth].txid) over (order by c.position) as is_same
        from (select x.* from perch.commit_order x where x.position > runs[nth].position
               order by x.position limit 10000) c) r
   where r.is_same;
  -- What was forgotten of them meanwhile nobody can give.
  perform perch.fail('PE410', 'the log does not go on from this cursor', jsonb_build_object('reason', 'expired'),
      'Take perch.read_log_snapshot, page by page, and read on from the cursor that it returns.')
    from unnest(runs || rest) r join perch.space_heads h on h.space_id = r.space_id where r.first_seq < h.oldest_seq;
  return runs || rest;
end
$$;

comment on function perch.log_runs(bigint, bigint, integer) is
  'Private. What transactions logged behind a place in the order over all spaces, for a page of some max_count entries; at most 10000 more, to the end of a transaction. Errors: PE410 when entries of it were forgotten.';
