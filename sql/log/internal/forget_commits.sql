-- The latest place stays: the next is counted from it, and a cursor may stand there. What has no place yet gets it
-- first: left out in silence, it would be lost for whoever reads on.
create or replace function perch.forget_commits(young timestamptz)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform perch.order_commits();
  delete from perch.commit_order c
   where c.position in (
     select o.position from perch.commit_order o where o.position is not null order by o.position limit 10000)
     and c.at < forget_commits.young and c.position < (
       select max(h.position) from perch.commit_order h where h.position is not null);
end
$$;
grant execute on function perch.forget_commits to perch_worker;

comment on function perch.forget_commits(timestamptz) is
  'Private. Forgets the oldest places in the order over all spaces that are older than young, a batch of them.';
