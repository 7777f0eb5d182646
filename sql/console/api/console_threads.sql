-- Tenants by a loose index scan, as the tables of a space (console_space).
create or replace function perch.console_threads(
  tenant_id text default null, search text default '', after text default '', after_namespace text default '',
  page_size integer default 50
)
returns json
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  from_id constant text := greatest(console_threads.search collate "C", console_threads.after collate "C");
  until_id constant text := console_threads.search || chr(1114111);
  asked constant integer := perch.console_page(console_threads.page_size);
  tenants text[];
  tenant text;
begin
  perform perch.require_console();
  with recursive t as (
    (select x.tenant_id, 1 as nth from perch.threads x order by x.tenant_id limit 1)
    union all
    select n.tenant_id, t.nth + 1
      from t cross join lateral (
        select x.tenant_id from perch.threads x where x.tenant_id > t.tenant_id order by x.tenant_id limit 1) n
     where t.nth < 100
  )
  select array_agg(t.tenant_id order by t.nth) into tenants from t;
  tenant := coalesce(console_threads.tenant_id, tenants[1]);
  return json_build_object(
    'tenants', coalesce(tenants, '{}'), 'tenant_id', tenant,
    'threads', (
      select coalesce(json_agg(json_build_object('thread_id', t.thread_id, 'namespace', t.namespace,
               'format', t.format, 'checkpoints', t.last_seq, 'head_id', t.head_id, 'step', c.step,
               'next_node', c.next_node, 'updated_at', perch.time_text(c.created_at),
               'lease', (
                 select json_build_object('holder', l.holder, 'token', l.token,
                          'expires_at', perch.time_text(l.expires_at), 'live', l.expires_at > clock_timestamp())
                   from perch.thread_leases l
                  where l.tenant_id = tenant and l.thread_id = t.thread_id and l.holder is not null))
                 order by t.thread_id, t.namespace), '[]')
        from (
          select x.* from perch.threads x
           where x.tenant_id = tenant and x.thread_id >= from_id and x.thread_id < until_id and x.thread_no > 0
             and (x.thread_id, x.namespace) > (console_threads.after, console_threads.after_namespace)
           order by x.thread_id, x.namespace limit asked) t
        left join perch.stored_checkpoints c
          on c.tenant_id = tenant and c.thread_no = t.thread_no and c.id = t.head_id));
end
$$;
grant execute on function perch.console_threads to perch_worker;

comment on function perch.console_threads(text, text, text, text, integer) is
  'For perch_worker, of the console: the threads of a tenant (null: the first) whose id begins so, with their heads and leases: {"tenants", "tenant_id", "threads"}. Pass the last thread_id and namespace as after and after_namespace for the next page. Errors: PE401, PE422.';
