create or replace function perch.console_document(
  space_id text, app_id text, table_name text, record_id text, before_seq bigint default null,
  page_size integer default 50
)
returns json
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  asked constant integer := perch.console_page(console_document.page_size);
  d perch.documents;
begin
  perform perch.require_console();
  select x.* into d
    from perch.documents x
   where x.space_id = console_document.space_id and x.app_id = console_document.app_id
     and x.table_name = console_document.table_name and x.record_id = console_document.record_id;
  if not found then
    perform perch.fail('PE404', 'there is no such document', jsonb_build_object('space_id', console_document.space_id,
      'app_id', console_document.app_id, 'table', console_document.table_name, 'id', console_document.record_id));
  end if;
  return json_build_object(
    'document', json_build_object('head_seq', d.head_seq, 'merged_seq', d.merged_seq, 'projected_seq', d.projected_seq,
      'snapshot_seq', d.snapshot_seq, 'incarnation_seq', d.incarnation_seq, 'tail_updates', d.tail_count,
      'tail_bytes', d.tail_bytes, 'projection_bytes', d.projection_bytes, 'created_by', d.created_by,
      'created_at', perch.time_text(d.created_at),
      'snapshot_bytes', (
        select octet_length(s.snapshot) from perch.document_snapshots s
         where s.space_id = d.space_id and s.app_id = d.app_id and s.table_name = d.table_name
           and s.record_id = d.record_id)),
    'fields', (select t.fields from perch.document_tables t
                where t.app_id = d.app_id and t.table_name = d.table_name),
    'presence', (
      select coalesce(json_agg(json_build_object('user_id', p.user_id, 'kind', p.kind)), '[]')
        from (select distinct x.user_id, x.kind from perch.presence x
               where x.space_id = d.space_id and x.app_id = d.app_id and x.table_name = d.table_name
                 and x.record_id = d.record_id and x.expires_at > clock_timestamp() limit 100) p),
    'versions', (
      select coalesce(json_agg(json_build_object('seq', v.seq, 'first_seq', v.first_seq, 'user_id', v.user_id,
               'client_id', v.client_id, 'actor', v.actor, 'first_at', perch.time_text(v.first_at),
               'last_at', perch.time_text(v.last_at), 'updates', v.updates, 'bytes', v.bytes)
                 order by v.seq desc), '[]')
        from (
          select s.seq, s.first_seq, s.user_id, s.client_id, s.actor, s.first_at, s.last_at, s.updates, s.bytes
            from perch.history_ranges(array(
              select u from perch.document_updates u
               where u.space_id = d.space_id and u.app_id = d.app_id and u.table_name = d.table_name
                 and u.record_id = d.record_id
                 and (console_document.before_seq is null or u.seq < console_document.before_seq))) s
          union all
          (select h.seq, h.first_seq, h.user_id, h.client_id, h.actor, h.first_at, h.last_at, h.updates, h.bytes
             from perch.document_history h
            where h.space_id = d.space_id and h.app_id = d.app_id and h.table_name = d.table_name
              and h.record_id = d.record_id
              and (console_document.before_seq is null or h.seq < console_document.before_seq)
            order by h.seq desc limit asked)
          order by 1 desc limit asked
        ) v));
end
$$;
grant execute on function perch.console_document to perch_worker;

comment on function perch.console_document(text, text, text, text, bigint, integer) is
  'For perch_worker, of the console: how a document is stored, who is there, and a page of its versions, the latest first: {"document", "fields", "presence", "versions"}. Errors: PE401, PE404, PE422.';
