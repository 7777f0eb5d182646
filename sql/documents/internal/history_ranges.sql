create or replace function perch.history_ranges(updates perch.document_updates[])
returns table (seq bigint, first_seq bigint, updates bigint, bytes bigint, ends jsonb, user_id text, client_id text,
  actor jsonb, first_at timestamptz, last_at timestamptz)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with numbered as (
    select u.*,
           count(*) filter (where u.begins) over (order by u.seq) as stretch
      from (
        select x.*,
               lag(x.seq) over w is null
               or (x.user_id, x.client_id, x.actor) is distinct
                 from (lag(x.user_id) over w, lag(x.client_id) over w, lag(x.actor) over w)
               or x.created_at > lag(x.created_at) over w + interval '1 minute' as begins
          from unnest(history_ranges.updates) x
        window w as (order by x.seq)
      ) u
  ), peers as (
    select p.stretch, jsonb_object_agg(p.peer, p.counter) as ends
      from (select n.stretch, e.key as peer, max(e.value::bigint) as counter
              from numbered n cross join lateral jsonb_each_text(n.ends) e
             group by n.stretch, e.key) p
     group by p.stretch
  )
  select max(n.seq), min(n.seq), count(*), sum(octet_length(n.payload))::bigint, min(p.ends::text)::jsonb,
         min(n.user_id), min(n.client_id), min(n.actor::text)::jsonb, min(n.created_at), max(n.created_at)
    from numbered n left join peers p on p.stretch = n.stretch
   group by n.stretch
   order by 1
$$;
grant execute on function perch.history_ranges to perch_worker;

comment on function perch.history_ranges(perch.document_updates[]) is
  'Private. Updates of one document, drawn together to history_ranges of one author (user, client and actor) without a pause of more than a minute.';
