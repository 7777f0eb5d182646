-- Numbers of a space have no gaps, so a stretch of them bounds what is read, whatever the filters leave of it: the last
-- 5,000 before before_seq (or of all), and of an author without a space the last 5,000 by the index on authors.
create or replace function perch.console_log(
  space_id text default null, app_id text default null, table_name text default null, record_id text default null,
  user_id text default null, client_id text default null, after_seq bigint default 0, before_seq bigint default null,
  page_size integer default 50
)
returns json
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  examined constant integer := 5000;
  asked constant integer := perch.console_page(console_log.page_size);
  head perch.space_heads;
  top bigint;
  floor_seq bigint;
  found perch.sync_changes[];
  reached bigint;
begin
  perform perch.require_console();
  if console_log.space_id is not null then
    select h.* into head from perch.space_heads h where h.space_id = console_log.space_id;
    top := least(coalesce(console_log.before_seq, head.seq + 1), head.seq + 1);
    floor_seq := greatest(console_log.after_seq, top - 1 - examined, head.oldest_seq - 1);
    found := array(
      select s from perch.sync_changes s
       where s.space_id = console_log.space_id and s.seq < top and s.seq > floor_seq
         and (console_log.app_id is null or s.app_id = console_log.app_id)
         and (console_log.table_name is null or s.table_name = console_log.table_name)
         and (console_log.record_id is null or s.record_id = console_log.record_id)
         and (console_log.user_id is null or s.user_id = console_log.user_id)
         and (console_log.client_id is null or s.client_id = console_log.client_id)
       order by s.seq desc limit asked);
    reached := case when cardinality(found) = asked then (found[asked]).seq else floor_seq + 1 end;
  elsif console_log.user_id is not null then
    found := array(
      select s from (
        select x.* from perch.sync_changes x
         where x.user_id = console_log.user_id order by x.created_at desc limit examined) s
       where (console_log.app_id is null or s.app_id = console_log.app_id)
         and (console_log.table_name is null or s.table_name = console_log.table_name)
         and (console_log.client_id is null or s.client_id = console_log.client_id)
       order by s.created_at desc limit asked);
  else
    perform perch.fail('PE422', 'of the whole log name a space_id, or a user_id',
      jsonb_build_object('argument', 'space_id'),
      'Name a space_id, or a user_id.');
  end if;
  return json_build_object(
    'entries', (
      select coalesce(json_agg(json_build_object('space_id', e.space_id, 'seq', e.seq, 'op', e.op, 'app_id', e.app_id,
               'table', e.table_name, 'id', e.record_id, 'user_id', e.user_id, 'client_id', e.client_id,
               'origin', e.origin, 'actor', e.actor, 'op_id', e.op_id, 'fields', e.changed_fields[1:50],
               'preview', perch.console_preview(e.data, e.size, 400), 'txid', e.txid::text,
               'created_at', perch.time_text(e.created_at))
                 order by case when console_log.space_id is null then e.created_at end desc nulls last, e.seq desc),
               '[]')
        from unnest(found) e),
    'head', head.seq, 'oldest', head.oldest_seq, 'reached', reached);
end
$$;
grant execute on function perch.console_log to perch_worker;

comment on function perch.console_log(text, text, text, text, text, text, bigint, bigint, integer) is
  'For perch_worker, of the console: entries of a space''s log, the latest first, or of one author over all spaces: {"entries", "head", "oldest", "reached"}. At most 5,000 numbers are looked at; reached is the lowest: pass it as before_seq to go on. Errors: PE401, PE422 when neither space_id nor user_id is named.';
