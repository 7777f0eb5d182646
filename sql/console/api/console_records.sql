create or replace function perch.console_records(
  space_id text, app_id text, table_name text, search text default '', after text default '',
  page_size integer default 50
)
returns json
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  from_id constant text := greatest(console_records.search collate "C", console_records.after collate "C");
  until_id constant text := console_records.search || chr(1114111);
  asked constant integer := perch.console_page(console_records.page_size);
  records json;
  last_id text;
begin
  perform perch.require_console();
  select json_agg(json_build_object('id', r.record_id, 'seq', r.seq, 'deleted', r.deleted, 'user_id', r.user_id,
           'updated_at', perch.time_text(r.updated_at),
           'preview', perch.console_preview(r.data, r.size, 300)) order by r.record_id),
         case when count(*) = asked then max(r.record_id) end
    into records, last_id
    from (
      select x.* from perch.stored_records x
       where x.space_id = console_records.space_id and x.app_id = console_records.app_id
         and x.table_name = console_records.table_name
         and x.record_id >= from_id and x.record_id < until_id and x.record_id > console_records.after
       order by x.record_id limit asked
    ) r;
  return json_build_object('records', coalesce(records, '[]'), 'next', last_id);
end
$$;
grant execute on function perch.console_records to perch_worker;

comment on function perch.console_records(text, text, text, text, text, integer) is
  'For perch_worker, of the console: the records of a table in a space whose id begins so, deleted ones too: {"records": [{"id", "seq", "deleted", "user_id", "updated_at", "preview"}], "next"}. preview: the beginning of the JSON, null where it is long. Errors: PE401, PE422.';
