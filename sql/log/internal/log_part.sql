-- Of a set, so that a query takes it in as its own part, and reads no further than it needs.
--
-- A client id is whatever a client calls itself: one's own is that of one's own pushes. Of a synced row a client does
-- not know what it has become: defaults, generated columns and triggers had their say.
create or replace function perch.log_part(
  space_id text, start bigint, stop bigint, app_id text, tables text[], exclude_client_id text, is_behind boolean,
  max_count integer
)
returns setof perch.sync_changes
language sql stable
as $$
  select l.* from perch.sync_changes l
   where l.space_id = log_part.space_id and l.seq > log_part.start and l.seq <= log_part.stop
     and l.app_id = log_part.app_id
     and (log_part.tables is null or l.table_name = any (log_part.tables))
     and (log_part.exclude_client_id is null or l.client_id is distinct from log_part.exclude_client_id
          or l.user_id <> perch.current_user_id() or log_part.is_behind
          or exists (select from perch.synced_relations r where r.app_id = l.app_id and r.table_name = l.table_name))
   order by l.seq limit log_part.max_count
$$;

comment on function perch.log_part(text, bigint, bigint, text, text[], text, boolean, integer) is
  'Private. Of the log of a space the first max_count entries behind start and up to stop, of these tables of an app (null: of all), without those that exclude_client_id pushed for the current user, unless is_behind.';
