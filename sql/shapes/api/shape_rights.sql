-- With the rights of whoever calls: perch_worker sees the members of all spaces. A membership that ended and began anew
-- is another row version (xmin). While no worker gives out numbers it does so itself, as perch.open_shape does, before
-- it says how far the log has come.
create or replace function perch.shape_rights(
  user_ids text[], schema_names text[], table_names text[],
  out users text[], out tables text[], out "position" bigint, out epoch text, out snapshot pg_snapshot
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  perform perch.number_waiting();
  select array(
           select coalesce(md5((
             select string_agg(concat_ws(' ', m.space_id, m.role, m.xmin), E'\n' order by m.space_id)
               from perch.space_members m where m.user_id = u.user_id)), '')
             from unnest(user_ids) with ordinality u (user_id, nth) order by u.nth),
         perch.table_digests(schema_names, table_names), perch.log_position(),
         (select l.epoch::text from perch.log_epoch l),
         pg_current_snapshot()
    into users, tables, "position", epoch, snapshot;
end
$$;
grant execute on function perch.shape_rights to perch_worker;

comment on function perch.shape_rights(text[], text[], text[]) is
  'For perch_worker: digests of all that decides what perch.open_shape says to users of synced tables, but for what their tokens say: of each user, the memberships; of each table (by schema and name in the database), its options and columns, and the epoch of the log. While both are the same, so is what it says. Besides, how far the log had come at that moment (position, epoch, snapshot). Example: select * from perch.shape_rights(user_ids => ''{alice}'', schema_names => ''{public}'', table_names => ''{orders}'');';
