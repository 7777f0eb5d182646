-- Where all of the log was forgotten, it was at the last of that: who begins before it would be told that it is gone.
create or replace function perch.log_position()
returns bigint
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce((select l.position from perch.sync_changes l where l.position is not null
    order by l.position desc limit 1), (select max(h.pruned_position) from perch.space_heads h), 0)
$$;
grant execute on function perch.log_position to perch_worker;

comment on function perch.log_position() is
  'For perch_worker: the greatest position in the log, of all that is committed; where all of it was forgotten, the greatest that was. Example: select perch.log_position();';
