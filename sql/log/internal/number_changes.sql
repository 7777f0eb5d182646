-- Lock order: the counters, by space id, behind everything else (docs/architecture.md, "The order of locks").
create or replace function perch.number_changes(changes perch.change[], created_at timestamptz)
returns bigint[]
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  with heads as (
    insert into perch.space_heads as h (space_id, seq, mark)
    select c.space_id, count(*), perch.entry_mark(number_changes.created_at) from unnest(changes) c group by c.space_id
      order by c.space_id
    on conflict on constraint space_heads_pkey do update set seq = h.seq + excluded.seq, mark = excluded.mark
    returning h.space_id, h.seq
  ),
  numbered as (
    select c.position, c.space_id,
           row_number() over (partition by c.space_id
             order by c.position) - count(*) over (partition by c.space_id) as behind
      from unnest(changes) c
  )
  select array_agg(h.seq + n.behind order by n.position)
    from numbered n join heads h on h.space_id = n.space_id
$$;

comment on function perch.number_changes(perch.change[], timestamptz) is
  'Private. Takes the counters of all spaces concerned, in the order of every writer, and gives each change the next number of its space. created_at: that of the entries to come.';
