create or replace function perch.unfinished_run(
  places perch.log_place[], app_id text, tables text[], max_run integer
)
returns json
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return (
    select json_build_object('space_id', p.space_id, 'txid', e.txid)
      from unnest(places) p
     cross join lateral (
       select l.txid, perch.run_end(p.space_id, p.stop, least(p.head, p.stop + max_run)) as stop
         from perch.sync_changes l
        where l.space_id = p.space_id and l.seq = p.stop limit 1) e
     cross join lateral (
       select from perch.sync_changes l
        where l.space_id = p.space_id and l.seq > p.stop and l.seq <= e.stop and l.app_id = unfinished_run.app_id
          and (unfinished_run.tables is null or l.table_name = any (unfinished_run.tables)) limit 1) more
     where p.stop > p.start and p.stop < p.head
     limit 1);
end
$$;

comment on function perch.unfinished_run(perch.log_place[], text, text[], integer) is
  'Private. {"space_id", "txid"} of the transaction within which a page ends; null where it ends between two.';
