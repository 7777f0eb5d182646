create or replace function perch.console_overview()
returns json
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  perform perch.require_console();
  return json_build_object(
    'nodes', (
      select coalesce(json_agg(json_build_object('node_id', n.node_id,
               'seen_seconds', extract(epoch from clock_timestamp() - n.seen_at)::float8)), '[]')
        from (select x.node_id, x.seen_at from perch.presence_nodes x order by x.seen_at desc limit 100) n),
    'release', (select r.version from perch.applied_release r),
    'server', current_setting('server_version'),
    'me', perch.require_console(),
    'role', current_setting('perch.console_role'),
    'actions', (
      select coalesce(json_agg(json_build_object('at', perch.time_text(a.at), 'user_id', a.user_id,
               'action', a.action, 'subject', a.subject) order by a.number desc), '[]')
        from (select x.* from perch.console_actions x order by x.number desc limit 20) a));
end
$$;
grant execute on function perch.console_overview to perch_worker;

comment on function perch.console_overview() is
  'For perch_worker, of the console: {"nodes", "release", "server", "me", "role", "actions"}: the processes that the database knows of, and what was done in the console last. Errors: PE401.';
