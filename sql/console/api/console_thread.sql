create or replace function perch.console_thread(
  tenant_id text, thread_id text, namespace text default '', before_seq bigint default null,
  page_size integer default 200
)
returns json
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  asked constant integer := perch.console_page(console_thread.page_size);
  t perch.threads;
begin
  perform perch.require_console();
  select x.* into t
    from perch.threads x
   where x.tenant_id = console_thread.tenant_id and x.thread_id = console_thread.thread_id
     and x.namespace = console_thread.namespace and x.thread_no > 0;
  if not found then
    perform perch.fail('PE404', 'there is no such thread', jsonb_build_object('tenant_id', console_thread.tenant_id,
      'thread_id', console_thread.thread_id));
  end if;
  return json_build_object(
    'tenant_id', t.tenant_id, 'thread_id', t.thread_id, 'namespace', t.namespace, 'format', t.format,
    'head_id', t.head_id, 'created_at', perch.time_text(t.created_at),
    'lease', (
      select json_build_object('holder', l.holder, 'token', l.token, 'expires_at', perch.time_text(l.expires_at),
               'live', l.expires_at > clock_timestamp())
        from perch.thread_leases l
       where l.tenant_id = t.tenant_id and l.thread_id = t.thread_id and l.holder is not null),
    'checkpoints', (
      select coalesce(json_agg(json_build_object('id', c.id, 'parent_id', c.parent_id, 'seq', c.seq, 'step', c.step,
               'next_node', c.next_node, 'schema_version', c.schema_version,
               'metadata', perch.console_preview(c.metadata, null, 500),
               'created_at', perch.time_text(c.created_at)) order by c.seq desc), '[]')
        from (
          select x.* from perch.stored_checkpoints x
           where x.tenant_id = t.tenant_id and x.thread_no = t.thread_no and x.seq > 0
             and (console_thread.before_seq is null or x.seq < console_thread.before_seq)
           order by x.seq desc limit asked) c));
end
$$;
grant execute on function perch.console_thread to perch_worker;

comment on function perch.console_thread(text, text, text, bigint, integer) is
  'For perch_worker, of the console: a thread, its lease and its checkpoints, the latest first; each names its parent. Errors: PE401, PE404, PE422.';
