-- Lock order: rows of the queue, which are only tried (docs/architecture.md, "The order of locks").
--
-- A claim is a due time in the future (a lease): it needs no transaction that stays open, and ends by itself when its
-- worker dies. Documents are given the time that the worker which took the edits may wait, and some more: huge ones as
-- much longer as they may wait longer.
create or replace function perch.claim_projections(
  max_count integer, claim_seconds float8, overdue_seconds float8, small_bytes bigint, large_overdue_seconds float8,
  large_seconds float8, longer_seconds float8, huge_bytes bigint
)
returns table (space_id text, app_id text, table_name text, record_id text)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  return query
    with overdue as (
      select x.space_id, x.app_id, x.table_name, x.record_id
        from perch.document_queue x
        left join perch.documents d
          on d.space_id = x.space_id and d.app_id = x.app_id and d.table_name = x.table_name
            and d.record_id = x.record_id
       cross join lateral (
         select case when coalesce(d.projection_bytes, 0) <= small_bytes then overdue_seconds
                     else large_overdue_seconds + least(longer_seconds,
                       greatest(0, large_seconds * d.projection_bytes / huge_bytes - large_seconds)) end) w (seconds)
       -- The first condition reads the queue by due_at: the time is told once, in a query of its own, since no index is
       -- searched for what may be another one at each row.
       where x.due_at <= (select clock_timestamp() - make_interval(secs => overdue_seconds))
         and x.due_at <= clock_timestamp() - make_interval(secs => w.seconds)
       order by x.due_at
       limit max_count
         for update of x skip locked
    )
    update perch.document_queue q set due_at = clock_timestamp() + make_interval(secs => claim_seconds)
      from overdue o
     where q.space_id = o.space_id and q.app_id = o.app_id and q.table_name = o.table_name and q.record_id = o.record_id
    returning q.space_id, q.app_id, q.table_name, q.record_id;
end
$$;
grant execute on function perch.claim_projections to perch_worker;

comment on function perch.claim_projections(integer, float8, float8, bigint, float8, float8, float8, bigint) is
  'Private. Claims documents whose record is overdue, for claim_seconds: overdue_seconds after they were put on the queue, where their record has at most small_bytes; large_overdue_seconds where it has more, and where it has more than huge_bytes so much longer as large_seconds in proportion, by at most longer_seconds.';
