-- The tables of a space are found by a loose index scan: from each the key leads to the next, whatever it holds.
create or replace function perch.console_space(space_id text)
returns json
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  space constant text := console_space.space_id;
begin
  perform perch.require_console();
  return json_build_object(
    'space_id', space,
    'space', (select json_build_object('created_by', s.created_by, 'created_at', perch.time_text(s.created_at))
                from perch.spaces s where s.space_id = space),
    'seq', (select h.seq from perch.space_heads h where h.space_id = space),
    'oldest_seq', (select h.oldest_seq from perch.space_heads h where h.space_id = space),
    'members', (
      select coalesce(json_agg(json_build_object('user_id', m.user_id, 'role', m.role,
               'since', perch.time_text(m.created_at)) order by m.user_id), '[]')
        from (select x.* from perch.space_members x where x.space_id = space order by x.user_id limit 200) m),
    'invitations', (
      select count(*) from (
        select from perch.space_invitations i
         where i.space_id = space and i.uses_left > 0 and i.expires_at > clock_timestamp() limit 1000) c),
    'tables', (
      with recursive tables as (
        (select r.app_id, r.table_name, 1 as nth from perch.stored_records r
          where r.space_id = space order by r.app_id, r.table_name limit 1)
        union all
        select n.app_id, n.table_name, t.nth + 1
          from tables t
         cross join lateral (
           select r.app_id, r.table_name from perch.stored_records r
            where r.space_id = space and (r.app_id, r.table_name) > (t.app_id, t.table_name)
            order by r.app_id, r.table_name limit 1) n
         where t.nth < 100
      )
      select coalesce(json_agg(json_build_object('app_id', t.app_id, 'table', t.table_name,
               'kind', perch.table_kind(t.app_id, t.table_name),
               'records', (select count(*) from (
                  select from perch.stored_records r
                   where r.space_id = space and r.app_id = t.app_id and r.table_name = t.table_name and not r.deleted
                   limit 1001) c)) order by t.nth), '[]')
        from tables t));
end
$$;
grant execute on function perch.console_space to perch_worker;

comment on function perch.console_space(text) is
  'For perch_worker, of the console: one space: {"space_id", "space", "seq", "oldest_seq", "members", "invitations", "tables"}; of members the first 200, of tables the first 100, of their records counted up to 1001. Errors: PE401.';
