-- The index on what is set aside gives the latest; how many there are is counted up to 10,000.
create or replace function perch.console_set_aside(page_size integer default 50)
returns json
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  asked constant integer := perch.console_page(console_set_aside.page_size);
begin
  perform perch.require_console();
  return json_build_object(
    'items', (
      select coalesce(json_agg(json_build_object('space_id', i.space_id, 'app_id', i.app_id, 'table', i.table_name,
               'id', i.record_id, 'seq', i.seq, 'kind', i.kind, 'user_id', i.user_id, 'client_id', i.client_id,
               'op_id', i.op_id, 'created_at', perch.time_text(i.created_at), 'error', i.error,
               'bytes', coalesce(octet_length(i.payload), pg_column_size(i.patch)),
               'patch', perch.console_preview(i.patch, null, 2000),
               'payload', encode(substr(i.payload, 1, 64), 'hex')) order by i.created_at desc), '[]')
        from (select x.* from perch.document_inbox x
               where x.status = 'rejected' order by x.created_at desc limit asked) i),
    'count', (select count(*) from (
      select from perch.document_inbox x where x.status = 'rejected' limit 10000) c),
    'pending', (select count(*) from (
      select from perch.document_inbox x where x.status = 'pending' limit 10000) c));
end
$$;
grant execute on function perch.console_set_aside to perch_worker;

comment on function perch.console_set_aside(integer) is
  'For perch_worker, of the console: updates and patches that were set aside, the latest first, with the reason: {"items", "count", "pending"}; counted up to 10,000. Errors: PE401, PE422.';
