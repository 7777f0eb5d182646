-- Whoever is to number it is told. Where no worker has promised to, those are who wait for something to pull: what they
-- pull gets its numbers by that (perch.number_waiting).
create or replace function perch.notify_unnumbered(space_ids text[])
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  -- While a worker has promised to look by itself nobody notifies; a session remembers for how long.
  if current_setting('perch.watched_until', true) collate "C"
     > to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') then
    return;
  end if;
  perform perch.notify_captured();
  if not exists (select from perch.sequencer s where s.served_until > clock_timestamp()) then
    perform pg_notify('perch_changes', perch.changes_notification(s.space_id, coalesce(h.seq, 0) + 1))
       from (select distinct u as space_id from unnest(space_ids) u) s
       left join perch.space_heads h on h.space_id = s.space_id;
  end if;
end
$$;
grant execute on function perch.notify_unnumbered to perch_worker;

comment on function perch.notify_unnumbered(text[]) is
  'Private. Notifies that changes of records in these spaces wait for their numbers.';
