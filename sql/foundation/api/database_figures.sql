-- Each figure is read off the end of an index that holds only what the figure counts, whatever the tables hold. What no
-- index can tell without costing every keystroke a write (the tails of all documents, say) is counted where it happens,
-- by each process.
create or replace function perch.database_figures(
  max_count integer,
  out pending bigint, out pending_seconds float8, out set_aside bigint, out unprojected bigint,
  out overdue_seconds float8, out captured_seconds float8, out notification_queue float8, out commit_seconds float8
)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select (select count(*)
            from (select from perch.document_inbox i where i.status = 'pending'
                   order by i.created_at limit database_figures.max_count) p),
         (select extract(epoch from clock_timestamp() - min(i.created_at))
            from perch.document_inbox i where i.status = 'pending'),
         (select count(*)
            from (select from perch.document_inbox i where i.status = 'rejected'
                   order by i.created_at limit database_figures.max_count) r),
         (select count(*) from (select from perch.document_queue q order by q.due_at
                                 limit database_figures.max_count) d),
         (select extract(epoch from clock_timestamp() - min(q.due_at)) from perch.document_queue q),
         (select extract(epoch from clock_timestamp() - c.captured_at) from perch.captured_changes c
           order by c.ordinal, c.nth limit 1),
         s.notification_queue, s.commit_seconds
    from perch.server_state() s
$$;
grant execute on function perch.database_figures to perch_worker;

comment on function perch.database_figures(integer) is
  'For perch_worker: what waits in this database: pushed updates and patches that no worker has merged (pending, since pending_seconds), that were set aside (set_aside), documents whose records are behind (unprojected, since overdue_seconds), changes of synced tables without a number (since captured_seconds), each counted up to max_count; the rest as perch.server_state says it.';
