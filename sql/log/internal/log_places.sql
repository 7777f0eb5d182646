-- A position is where the reader says, if the entry there is the one it was given: a database that went back gives
-- numbers out again. At the end of a log, where most readers stand in most spaces, its counter tells. Elsewhere the log
-- does; the limit keeps that a look at one entry a space, by its key.
create or replace function perch.log_places(
  readable text[], reader jsonb, epoch text, rules text, reach bigint
)
returns perch.log_place[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  roles constant text[] := case when rules is not null then perch.roles_in(readable) end;
  places perch.log_place[];
  lost jsonb;
begin
  select array_agg(row(p.space_id, p.start, p.mark, p.head, p.head_mark,
             least(p.head, p.start + greatest(0, reach - p.before)), roles[p.nth])::perch.log_place order by p.nth),
         jsonb_agg(jsonb_build_object('space_id', p.space_id, 'reason', coalesce(p.reason, 'epoch'),
               'oldest_seq', p.oldest, 'latest_seq', p.head)
             || case when p.reason is null then jsonb_build_object('cause', p.cause) else '{}' end order by p.nth)
           filter (where p.reason is not null or p.cause is not null)
    into places, lost
    from (
      select r.nth, r.space_id, c.start, c.mark, c.head, h.mark as head_mark, c.oldest,
             sum(greatest(c.head - c.start, 0)) over (order by r.nth) - greatest(c.head - c.start, 0) as before,
             case when reader ->> 'epoch' <> epoch then 'epoch'
                  when c.start > c.head then 'ahead'
                  when c.start < c.oldest - 1 then 'expired'
                  when c.start = 0 then null
                  when c.start = c.head and h.mark is not null then
                    case when h.mark <> coalesce(c.mark, '') then 'epoch' end
                  when c.start < c.oldest then case when h.before_oldest <> coalesce(c.mark, '') then 'epoch' end
                  when e.mark is distinct from c.mark then 'epoch' end as reason,
             case when known.space_id is null then null
                  when reader ->> 'rules' is distinct from rules then 'rules'
                  when known.place ->> 2 is distinct from roles[r.nth] then 'role' end as cause
        from unnest(readable) with ordinality r (space_id, nth)
        left join jsonb_each(reader -> 'spaces') known (space_id, place) on known.space_id = r.space_id
        left join perch.space_heads h on h.space_id = r.space_id
        cross join lateral (
          -- Worked out first (offset 0): in a search, a policy lets no such expression go before itself, which then
          -- looks at the whole space.
          select coalesce((known.place ->> 0)::bigint, 0), known.place ->> 1, coalesce(h.seq, 0),
                 coalesce(h.oldest_seq, 1) offset 0
        ) c (start, mark, head, oldest)
        left join lateral (
          select perch.entry_mark(l.created_at) as mark
            from perch.sync_changes l
           where c.start > 0 and (c.start = c.head and h.mark is not null) is not true
             and l.space_id = r.space_id and l.seq = c.start
           limit 1) e on true
    ) p;
  if lost is not null then
    perform perch.fail('PE410', 'the log does not go on from this cursor', jsonb_build_object('spaces', lost),
      'Call perch.snapshot_records for each of these spaces, passing the cursor, and pull on from the cursor it returns.');
  end if;
  return places;
end
$$;

comment on function perch.log_places(text[], jsonb, text, text, bigint) is
  'Private. Where a reader stands in the logs of the spaces readable, in their order, by what they said (perch.read_cursor): a page goes through at most reach entries. epoch, rules: as they are now. Errors: PE410 when a log does not go on from there, or is read by other rules or in another role.';
